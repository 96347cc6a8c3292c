internal import Platform

/// Fetches frames before they are wanted, several requests at once, from a store that takes its time to answer.
///
/// Frames that lie beside each other in an object and are wanted one after the other come with one request. Only a few requests are
/// ahead of the reader, so that memory is bounded.
final class FramePrefetcher: Sendable {
  struct Frame: Hashable, Sendable {
    let object: UInt32
    let frame: UInt32
  }

  /// Frames that come with one request.
  private struct Run: Sendable {
    let object: UInt32
    let first: UInt32
    var last: UInt32
    var bytes: Int
  }

  private struct State: Sendable {
    /// The next to be fetched.
    var next = 0
    /// The one that is read from; those before it are gone.
    var current = 0
    var fetched: [Int: Result<[UInt8], any Error>] = [:]
    var isEnded = false
    /// Requests that may be ahead of the reader.
    var window: Int
  }

  private let runs: [Run]
  private let runOfFrame: [Frame: Int]
  private let table: ChunkTable
  private let state: Monitor<State>
  private let widest: Int
  private static let largestRun = 4 << 20

  /// Begins to fetch.
  /// - Parameters:
  ///   - locations: of the chunks, in the order in which they will be read.
  ///   - isNext: whether something else is read before: then fewer requests are made until `begin()`.
  init(
    _ locations: some Sequence<ChunkLocation>, isNext: Bool, table: ChunkTable, starts: [[Int64]], lengths: [StoredContents.Length],
    _ contents: StoredContents
  ) {
    self.table = table
    var runs: [Run] = []
    var runOfFrame: [Frame: Int] = [:]
    for location in locations {
      let frame = Frame(object: location.object, frame: location.frame)
      guard runOfFrame[frame] == nil else { continue }
      let bytes = Int(table.objects[Int(frame.object)].frames[Int(frame.frame)].stored)
      if let last = runs.last, last.object == frame.object, last.last + 1 == frame.frame, last.bytes + bytes <= Self.largestRun {
        runs[runs.count - 1].last = frame.frame
        runs[runs.count - 1].bytes += bytes
      } else {
        runs.append(Run(object: frame.object, first: frame.frame, last: frame.frame, bytes: bytes))
      }
      runOfFrame[frame] = runs.count - 1
    }
    let planned = runs
    self.runs = planned
    self.runOfFrame = runOfFrame
    let widest = min(4, max(1, contents.store.requestsAtOnce))
    self.widest = widest
    state = Monitor(State(window: isNext ? min(2, widest) : widest))
    for _ in 0..<min(widest, planned.count) {
      _ = WorkerThread(name: "fetch") { [state] in
        while true {
          let number: Int? = state.wait(until: { $0.isEnded || $0.next >= planned.count || $0.next < $0.current + $0.window }) { state in
            guard !state.isEnded, state.next < planned.count else { return nil }
            state.next += 1
            return state.next - 1
          }
          guard let number else { return }
          let run = planned[number]
          let start = starts[Int(run.object)][Int(run.first)]
          let result = Result {
            try contents.read(
              table.objects[Int(run.object)].name.key, start..<(start + Int64(run.bytes)), of: lengths[Int(run.object)])
          }
          state.update { if number >= $0.current { $0.fetched[number] = result } }
        }
      }
    }
  }

  deinit { end() }

  /// From now on these frames are read.
  func begin() { state.update { $0.window = widest } }

  /// Fetches nothing more.
  func end() {
    state.update {
      $0.isEnded = true
      $0.fetched = [:]
    }
  }

  /// The stored bytes of a frame, waiting for them; nil for one that was read from before.
  /// - Throws: what the store threw.
  func stored(_ frame: Frame) throws -> ArraySlice<UInt8>? {
    guard let number = runOfFrame[frame] else { return nil }
    // An earlier run may be passed over because another reader already has its chunks; later runs do not wait for
    // it.
    state.update { state in
      guard number > state.current else { return }
      state.current = number
      state.next = max(state.next, number)
      state.fetched = state.fetched.filter { $0.key >= number }
    }
    let result: Result<[UInt8], any Error>? = state.wait(until: { number < $0.current || $0.fetched[number] != nil || $0.isEnded }) { state in
      number >= state.current ? state.fetched[number] : nil
    }
    guard let bytes = try result?.get() else { return nil }
    let run = runs[number]
    let frames = table.objects[Int(run.object)].frames
    let start = (run.first..<frame.frame).reduce(0) { $0 + Int(frames[Int($1)].stored) }
    return bytes[start..<(start + Int(frames[Int(frame.frame)].stored))]
  }
}
