internal import Foundation
internal import Synchronization

/// A thread with a name. Blocking work runs on one of these, never on the cooperative pool.
package final class WorkerThread: Sendable {
  private let done = Gate()

  package init(name: String, _ body: @escaping @Sendable () -> Void) {
    let thread = Thread { [done] in
      body()
      done.open()
    }
    thread.name = name
    thread.stackSize = 1 << 20
    thread.start()
  }

  /// Waits until the thread's work has ended.
  package func join() { done.wait() }
}
