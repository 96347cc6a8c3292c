import FirnVerifyCommand

@main struct Main {
  static func main() { VerifyProgram.start() }
}
