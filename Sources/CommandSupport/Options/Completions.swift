package import ArgumentParser
internal import FirnCore
internal import Platform
internal import Repository

/// Completions of a shell from the store: names of databases, and ids of snapshots.
package enum Completions {
  package static let databases = CompletionKind.custom { words, _, _ in
    Array(Set(places(words).map(\.database))).sorted()
  }

  /// The ids of the database that was typed before, or of all.
  package static let snapshots = CompletionKind.custom { words, _, _ in
    let all = places(words)
    let named = all.filter { place in words.contains { $0.isSame(as: place.database) } }
    return ["latest", "latest:verified"] + (named.isEmpty ? all : named).suffix(100).reversed().map(\.id.description)
  }

  /// Nothing is printed whatever fails: a completion must not write over the line that is being typed. Stores on servers are not asked,
  /// because that could take long.
  private static func places(_ words: [String]) -> [SnapshotPath] {
    guard var common = try? CommonOptions.parse([]) else { return [] }
    for (option, value) in zip(words, words.dropFirst()) {
      if option == "--store" { common.store = value }
      if option == "--config" { common.config = value }
    }
    guard let context = try? CommandContext(command: "completion", common: common), !context.storeLocation.contains("://"),
      let store = try? context.store(), let repository = try? Repository(opening: store)
    else { return [] }
    return (try? repository.catalog.snapshots()) ?? []
  }
}
