import FirnSnapshotCommand

@main struct Main {
  static func main() { SnapshotProgram.start() }
}
