import Platform
import Testing

@Suite struct `Threads` {
  @Test func `hand over everything in order through a queue of bounded length`() {
    let queue = BoundedQueue<Int>(capacity: 3)
    let producer = WorkerThread(name: "producer") {
      for number in 0..<5000 { queue.push(number) }
      queue.close()
    }
    var taken: [Int] = []
    while let number = queue.pop() { taken.append(number) }
    producer.join()
    #expect(taken == Array(0..<5000))
    queue.push(1)
    #expect(queue.pop() == nil)
  }

  @Test func `keep the first failure among many`() {
    struct Failure: Error, Equatable { let number: Int }
    let failure = FirstFailure()
    failure.capture { throw Failure(number: 1) }
    failure.capture { throw Failure(number: 2) }
    #expect(throws: Failure(number: 1)) { try failure.check() }
  }
}
