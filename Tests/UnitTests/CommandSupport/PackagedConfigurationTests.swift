import CommandSupport
import FirnCore
import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// The installed example, and the pages that explain the keys.
@Suite struct `The configuration that is shipped` {
  private func text(_ path: String) throws -> String {
    String(decoding: try Folder.contents(of: FirnProgram.projectFile(path)), as: UTF8.self)
  }

  @Test func `can be read as it is, and with every line of it taken in`() throws {
    let example = try text("scripts/package/firn.yaml")
    let plain = try Configuration(parsing: example, name: "firn.yaml")
    #expect(plain.store == "/var/lib/firn/store" && plain.notifications.isEmpty)
    let whole = example.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      line.contains(#/^#[a-z-]+:|^#  /#) ? line.dropFirst() : line
    }.joined(separator: "\n")
    let full = try Configuration(parsing: whole, name: "firn.yaml")
    #expect(full.copies.count == 1 && full.assertions.count == 1 && full.maintenance.stop.count == 1)
    #expect(full.notifications.ping != nil && full.notifications.webhook?.template != nil && full.notifications.mail != nil)
    #expect(full.notifications.metrics != nil && !full.notifications.before.isEmpty)
  }

  @Test func `has each key explained in the manual and in the guide`() throws {
    let manual = try text("scripts/package/firn.yaml.5").replacing("\\-", with: "-")
    let guide = try text("Sources/FirnFrontDoor/Firn.docc/Configuration.md")
    for key in Configuration.keys {
      #expect(manual.contains("\\fB\(key)\\fR") || manual.contains("\(key),") || manual.contains(", \(key)\\fR"), "\(key) in the manual")
      #expect(guide.contains("`\(key)`"), "\(key) in the guide")
    }
  }
}
