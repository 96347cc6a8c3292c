internal import Compression
internal import Postgres
internal import Repository

extension GlobalsScript {
  /// The globals of a snapshot.
  init(of manifest: Manifest, in repository: Repository) throws {
    let key = repository.files(of: manifest.place).globals
    guard let digest = try repository.catalog.checksums(of: manifest.place).files[key] else {
      throw RepositoryError.malformed(key: key, reason: "the list of checksums doesn't name it")
    }
    let stored = try repository.contents.read(key, limit: 1 << 28, expecting: digest)
    self.init(String(decoding: try ZstdDecompressor().decompressAll(stored, limit: 1 << 28), as: UTF8.self))
  }
}
