internal import CCurl
internal import Foundation
internal import Platform

/// Carries out requests over libcurl, many at once on one thread, over connections that are kept.
package final class TransferEngine: Sendable {
  /// For the whole process.
  package static let shared = TransferEngine()

  private struct Ticket: Sendable {
    let request: TransferRequest
    let exchange: Exchange
    let outcome = Monitor<Result<TransferResponse, TransferError>?>(nil)
    let isCancelled = Monitor(false)
  }

  private struct State: Sendable {
    var waiting: [Ticket] = []
    var isEnding = false
  }

  private let state: Monitor<State>
  private let multi: MultiHandle

  private init() {
    let (state, multi) = (Monitor(State()), MultiHandle())
    self.state = state
    self.multi = multi
    _ = WorkerThread(name: "transfers") { Self.work(state, multi) }
  }

  deinit {
    state.update { $0.isEnding = true }
    multi.wakeUp()
  }

  /// How long a request may go on after the operator wished that the program ends: what cleans up has to speak to a server, too.
  private static let patience: Duration = .seconds(10)

  /// Carries out one request, and waits for its answer, whatever its status.
  /// - Throws: `TransferError`.
  package func perform(_ request: TransferRequest) throws(TransferError) -> TransferResponse {
    let ticket = Ticket(request: request, exchange: Exchange(request))
    state.update { $0.waiting.append(ticket) }
    multi.wakeUp()
    var deadline: ContinuousClock.Instant?
    while !ticket.outcome.wait(atMost: .milliseconds(250), until: { $0 != nil }) {
      guard Interruption.signal != nil else { continue }
      deadline = deadline ?? .now + Self.patience
      if let deadline, .now > deadline {
        ticket.isCancelled.update { $0 = true }
        multi.wakeUp()
      }
    }
    return try ticket.outcome.current!.get()
  }

  // MARK: The thread

  private static func work(_ state: Monitor<State>, _ multi: MultiHandle) {
    var active: [(ticket: Ticket, handle: EasyHandle)] = []
    while true {
      let (fresh, isEnding) = state.update { state in
        defer { state.waiting = [] }
        return (state.waiting, state.isEnding)
      }
      for ticket in fresh {
        do throws(TransferError) {
          let handle = try EasyHandle(ticket.request, ticket.exchange)
          try multi.add(handle)
          active.append((ticket, handle))
        } catch {
          ticket.outcome.update { $0 = .failure(error) }
        }
      }
      // Before libcurl sends on what waited while this process stood still.
      let now = ContinuousClock.now
      for (ticket, handle) in active.filter({ $0.ticket.request.end.map { $0 < now } ?? false || $0.ticket.isCancelled.current }) {
        multi.remove(handle)
        active.removeAll { $0.handle === handle }
        ticket.outcome.update { $0 = .failure(.cancelled) }
      }
      multi.perform()
      while let (exchange, code) = multi.nextEnded() {
        guard let index = active.firstIndex(where: { $0.ticket.exchange === exchange }) else { continue }
        let (ticket, handle) = active.remove(at: index)
        multi.remove(handle)
        let outcome = handle.outcome(code)
        ticket.outcome.update { $0 = outcome }
      }
      if isEnding && active.isEmpty { return }
      multi.wait()
    }
  }
}

/// libcurl's handle of many requests.
@safe private final class MultiHandle: @unchecked Sendable {
  // Sound: of its functions curl_multi_wakeup(3) alone is called from other threads, which it is made for.
  private let handle: UnsafeMutableRawPointer

  private static let isInitialized: Bool = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

  init() {
    precondition(Self.isInitialized, "libcurl does not start")
    unsafe handle = curl_multi_init()!
    unsafe firn_curl_multi_set_long(handle, CURLMOPT_MAX_HOST_CONNECTIONS, 32)
    unsafe firn_curl_multi_set_long(handle, CURLMOPT_MAXCONNECTS, 32)
  }

  deinit { unsafe curl_multi_cleanup(handle) }

  func add(_ easy: EasyHandle) throws(TransferError) {
    guard unsafe curl_multi_add_handle(handle, easy.pointer) == CURLM_OK else { throw .invalid(reason: "libcurl takes no more requests") }
  }

  func remove(_ easy: EasyHandle) { unsafe curl_multi_remove_handle(handle, easy.pointer) }

  func perform() {
    var running: Int32 = 0
    unsafe curl_multi_perform(handle, &running)
  }

  func nextEnded() -> (Exchange, CURLcode)? {
    var code = CURLE_OK
    guard let easy = unsafe firn_curl_next_ended(handle, &code) else { return nil }
    var context: UnsafeMutableRawPointer?
    unsafe firn_curl_get_pointer(easy, &context)
    return unsafe (Exchange.of(context), code)
  }

  /// Waits until there is something to do.
  func wait() { unsafe curl_multi_poll(handle, nil, 0, 1000, nil) }

  func wakeUp() { unsafe curl_multi_wakeup(handle) }
}
