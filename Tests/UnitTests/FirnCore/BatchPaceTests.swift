import FirnCore
import Testing

@Suite struct `The pace of a backfill` {
  private func settled(most: Int = 1000, longest: Duration = .milliseconds(4), cost: (Int) -> Duration) -> Int {
    var pace = BatchPace(most: most, longest: longest)
    for _ in 0..<100 { pace.adapt(to: cost(pace.size)) }
    return pace.size
  }

  @Test func `follows what a row costs`() {
    #expect(settled { .microseconds($0) } == 1000)
    let middling = settled { .microseconds($0 * 10) }
    #expect((200...400).contains(middling), "\(middling)")
    #expect(settled(most: 30) { .microseconds($0) } == 30)
  }

  @Test func `does not shrink batches whose size is not what they cost by`() {
    #expect(settled { _ in .milliseconds(20) } == 50)
    #expect(settled(most: 37) { _ in .milliseconds(20) } == 37)
    #expect(settled { _ in .milliseconds(300) } == 1)
  }

  @Test func `grows to the size asked for while no other session is at work`() {
    func cost(_ rows: Int) -> Duration { .microseconds(2400 + rows * 2) }
    #expect(settled(most: 50_000, longest: .milliseconds(3), cost: cost) < 300)
    var pace = BatchPace(most: 50_000, longest: .milliseconds(3))
    for _ in 0..<100 { pace.adapt(to: cost(pace.size), isAlone: true) }
    #expect((20_000...50_000).contains(pace.size), "\(pace.size)")
    for _ in 0..<20 { pace.adapt(to: cost(pace.size)) }
    #expect(pace.size < 500, "\(pace.size)")
  }

  @Test func `shrinks to what locks allow, and comes back`() {
    var pace = BatchPace(most: 1000, longest: .milliseconds(4))
    for _ in 0..<20 { pace.halve() }
    #expect(pace.size == 1)
    pace.adapt(to: .milliseconds(5))
    #expect(pace.size == 1)
    for _ in 0..<100 { pace.adapt(to: .milliseconds(1)) }
    #expect(pace.size == 1000)
  }
}
