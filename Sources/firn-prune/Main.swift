import FirnPruneCommand

@main struct Main {
  static func main() { PruneProgram.start() }
}
