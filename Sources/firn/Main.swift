import FirnFrontDoor

@main struct Main {
  static func main() { FrontDoor.start() }
}
