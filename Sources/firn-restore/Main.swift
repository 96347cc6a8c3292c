import FirnRestoreCommand

@main struct Main {
  static func main() { RestoreProgram.start() }
}
