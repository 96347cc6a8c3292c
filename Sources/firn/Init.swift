import ArgumentParser
import CommandSupport
import Foundation
import Platform
import Repository

/// Makes a repository.
struct Init: FirnCommand {
  static let configuration = CommandSupport.configuration("init", abstract: "Make a repository.")
  @Option(
    help: ArgumentHelp(
      "Bytes in a chunk, on average: a power of two; half of it where rows are narrow. Smaller finds more repetition and costs more bookkeeping. Default: 4KiB.",
      valueName: "size"))
  var chunkSize: String?
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    var random = SystemRandomNumberGenerator()
    var format = RepositoryFormat(repositoryID: UUID().uuidString.lowercased(), createdAt: Date(), random: &random)
    if let chunkSize {
      guard let bytes = Quantity.bytes(chunkSize), bytes >= 1024, bytes <= 1 << 18, bytes.nonzeroBitCount == 1 else {
        throw UsageError("--chunk-size takes a power of two from 1KiB to 256KiB, not \(chunkSize)")
      }
      format.chunking = .init(average: Int(bytes))
    }
    let store = try context.store()
    _ = try Repository(creatingIn: store, format: format)
    if common.json {
      try context.output(json: ["store": store.location, "repositoryID": format.repositoryID])
    } else {
      context.tell("made a repository in \(store.location)")
    }
    return .done
  }
}
