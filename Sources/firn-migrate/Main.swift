import FirnMigrateCommand

@main struct Main {
  static func main() { MigrateProgram.start() }
}
