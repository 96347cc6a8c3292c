internal import Compression
internal import Synchronization

/// Finds out from time to time which effort pays for the data at hand.
final class EffortChoice: Sendable {
  private struct State: Sendable {
    var frames = 0
    var nextTrial = 0
    var effort = ZstdCompressor.Effort.light
  }

  private let state = Mutex(State())

  /// Frames between two trials at most; at first there are fewer.
  private static let longestPeriod = 256

  func compress(_ bytes: [UInt8], with compressor: inout ZstdCompressor) throws -> [UInt8] {
    let (isTrial, effort) = state.withLock { state in
      defer { state.frames += 1 }
      guard state.frames == state.nextTrial else { return (false, state.effort) }
      state.nextTrial += min(Self.longestPeriod, max(16, state.nextTrial))
      return (true, state.effort)
    }
    guard isTrial else { return try compressor.compress(bytes.span, effort: effort) }
    // Whole frames: in a part of one there is less to find.
    let fast = try compressor.compress(bytes.span, effort: .fast)
    let light = try compressor.compress(bytes.span, effort: .light)
    let dense = try compressor.compress(bytes.span, effort: .dense)
    // A slower one is worth its time only for a real gain.
    let isDenseWorth = Double(dense.count) < Double(light.count) * 0.96
    let isFastEnough = Double(fast.count) < Double(light.count) * 1.003
    state.withLock { $0.effort = isDenseWorth ? .dense : isFastEnough ? .fast : .light }
    return [fast, light, dense].min { $0.count < $1.count } ?? light
  }
}
