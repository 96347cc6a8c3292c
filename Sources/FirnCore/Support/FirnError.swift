package import Foundation
package import Retention

/// Errors that stop an operation and that users need to distinguish. Their messages are in CommandSupport.
package enum FirnError: Error, Equatable {
  /// Tables came, went or were rewritten while the snapshot began, every time it was tried.
  case tablesKeptChanging(attempts: Int, example: String)
  case noRights(role: String, tables: [String])
  case lockTableTooSmall(relations: Int, capacity: Int)
  /// pg_dump ended well, yet its archive is not what it should be.
  case unsoundArchive(reason: String)
  case lostTrackOfSpool
  case databaseExists(name: String)
  case invalidName(name: String, reason: String)
  /// Everything a restore's preflight found, at once.
  case refused(reasons: [String])
  /// The restored database differs from the snapshot; it was dropped again.
  case restoredCopyDiffers(differences: [String])
  case noDatabaseNamed
  /// Where copies went there is no repository any more.
  case copyGone(location: String)
  /// Another restore builds a database for this name.
  /// - Parameter rest: the database by which that is known, if its process may be dead.
  case beingRestored(database: String, process: Int32, place: String, rest: String?)
  /// No database is kept that could take the name back, or be dropped.
  case noKeptDatabase(name: String)
  /// The confirmation differs from the phrase; nil if there was no terminal to ask at.
  case notConfirmed(phrase: String, given: String?)
  /// The same, after others were confirmed and dropped.
  case notConfirmedFurther(phrase: String, given: String, dropped: [String])
  /// Pruning by a clock that may be wrong would take the wrong snapshots; the phrase says that it is right.
  case clockInDoubt(reason: String, phrase: String)
  /// Without the phrase, no snapshot of these databases was removed; the others were pruned as far as no phrase was
  /// required.
  case prunedInPart(left: [String], reasons: [String], phrase: String, of: String?)
  /// More would be removed than was shown.
  case planChanged
  /// A repository is there already, encrypted to others than was asked for, or not at all.
  case differentlyMade(location: String, isEncrypted: Bool)
  /// A snapshot that was named to be removed is one of those that always stay.
  case mustStay(database: String, id: String, reasons: [String], guardian: RetentionGuard)
  /// A snapshot that was to be removed must be kept, by an order that came after the plan or that no listing shows.
  case onHold(database: String, id: String, reason: String)
  case noFolder(path: String, reason: String)
  /// The copy's store encrypts to other recipients than the original, or not at all.
  case differentlyEncrypted(location: String)
  /// A repository is not encrypted, and can't become so.
  case notEncrypted(location: String)
  /// To whom a repository is encrypted changed while a run waited.
  case recipientsChanged(location: String)
  /// Another migration of this database is under way.
  case migrationRuns(database: String, holder: String)
  /// Whether the last batch of a backfill that was cut off was committed is no longer known.
  case backfillLost(table: String, key: String)
  /// The server was promoted or restored since a backfill was cut off, and may have lost some of its batches.
  case backfillFailedOver(table: String, key: String, lsn: String)
  /// Another server has taken this one's place in a source.
  case sourceInUse(name: String, by: String, since: Date)
  /// A copy would be the original.
  case sameStore(location: String)
}

extension FirnError {
  /// The database of that name is another than the one that was confirmed.
  static func replacedMeanwhile(_ database: String) -> FirnError {
    .refused(reasons: ["\(database) was replaced in the meantime: nothing was changed; run this again to see its current state"])
  }
}

/// A restore failed, and what it had made could not be taken away again.
package struct LeftBehind: Error {
  package let database: String
  package let roles: [String]
  package let reason: any Error
  package let cause: any Error
}
