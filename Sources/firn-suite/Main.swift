import FirnFrontDoor
import FirnMigrateCommand
import FirnPruneCommand
import FirnRestoreCommand
import FirnSnapshotCommand
import FirnVerifyCommand

/// All programs in one file, which is installed: the name it is called by selects the program.
@main struct Main {
  static func main() {
    switch CommandLine.arguments.first?.split(separator: "/").last {
    case "firn-snapshot": SnapshotProgram.start()
    case "firn-verify": VerifyProgram.start()
    case "firn-restore": RestoreProgram.start()
    case "firn-prune": PruneProgram.start()
    case "firn-migrate": MigrateProgram.start()
    default: FrontDoor.start()
    }
  }
}
