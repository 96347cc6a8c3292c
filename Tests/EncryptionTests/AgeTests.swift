import Encryption
import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// Against the stock age.
@Suite struct `An encrypted file` {
  private static func run(_ program: FilePath, _ arguments: [String]) throws -> CommandResult {
    try Workplace.run(program, arguments, environment: ["PATH": "/usr/bin:/bin", "HOME": "/nonexistent"])
  }

  /// Lengths where something begins or ends, and some between.
  private static func length(_ number: Int, _ random: inout SeededRandom) -> Int {
    let edges = [0, 1, 15, 16, 65519, 65520, 65535, 65536, 65537, 131071, 131072, 131073, 196608]
    return number < edges.count ? edges[number] : Int.random(in: 0...200_000, using: &random)
  }

  @Test func `goes from here to age and back, two hundred times each way, to keys of both kinds`() throws {
    let folder = try TemporaryFolder()
    var random = SeededRandom(seed: 11)
    let (x25519, secret) = AgeIdentity.make()
    try folder.write(secret + "\n", to: "x25519")
    #expect(try Self.run("/usr/bin/ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f", folder.path("ssh").string]).status == 0)
    let publicLine = String(decoding: try Folder.contents(of: folder.path("ssh.pub")), as: UTF8.self)
    let ssh = try #require(try AgeIdentity.identities(in: Folder.contents(of: folder.path("ssh"))) { nil }.first)
    let recipients = [x25519.recipient, try AgeRecipient(publicLine)]
    #expect(ssh.recipient == recipients[1] && recipients.map(\.description) == [x25519.recipient.description, ssh.recipient.description])
    for number in 0..<200 {
      let plain = (0..<Self.length(number, &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      let name = ["x25519", "ssh"][number % 2]
      // From here to age: to one, or to both.
      let chosen = number % 3 == 0 ? recipients : [recipients[number % 2]]
      try Folder.write(try AgeFile.encrypt(plain, to: chosen), to: folder.path("sealed"))
      let opened = try Self.run(
        "/usr/bin/age", ["-d", "-i", folder.path(name).string, "-o", folder.path("opened").string, folder.path("sealed").string])
      #expect(opened.status == 0, "\(opened)")
      // age makes no file of nothing.
      #expect(try (plain.isEmpty ? [] : Folder.contents(of: folder.path("opened"))) == plain, "\(plain.count) bytes to age")
      // And back.
      try Folder.write(plain, to: folder.path("plain"))
      let encrypted = try Self.run(
        "/usr/bin/age", chosen.flatMap { ["-r", $0.description] } + ["-o", folder.path("sealed").string, folder.path("plain").string])
      #expect(encrypted.status == 0, "\(encrypted)")
      #expect(
        try AgeFile.open(Folder.contents(of: folder.path("sealed")), with: [[x25519, ssh][number % 2]]) == plain, "\(plain.count) bytes from age")
    }
  }

  @Test func `gives up any part of it, and none of one that was cut off, reordered or changed`() throws {
    var random = SeededRandom(seed: 3)
    let (identity, _) = AgeIdentity.make()
    for length in [0, 1, 65535, 65536, 65537, 200_000] {
      let plain = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
      var encryptor = try AgeEncryptor(to: [identity.recipient])
      var encrypted = encryptor.begin()
      // In parts of any size it is the same file.
      var rest = plain[...]
      while !rest.isEmpty {
        let count = min(rest.count, Int.random(in: 1...70_000, using: &random))
        encryptor.encrypt(rest.prefix(count), into: &encrypted)
        rest = rest.dropFirst(count)
      }
      encryptor.finish(into: &encrypted)
      let file = try OpenedAgeFile(beginning: encrypted, with: [identity])
      #expect(try AgeFile.open(encrypted, with: [identity]) == plain)
      #expect(Int64(encrypted.count - file.payloadStart) == AgeFile.payloadLength(ofPlain: Int64(length)))
      for _ in 0..<50 {
        let start = Int64.random(in: 0...Int64(length), using: &random)
        let part = start..<Int64.random(in: start...Int64(length), using: &random)
        let range = OpenedAgeFile.encryptedRange(of: part, in: Int64(length))
        let bytes = encrypted[(file.payloadStart + Int(range.lowerBound))..<(file.payloadStart + Int(range.upperBound))]
        #expect(try file.plain(part, of: bytes, in: Int64(length)) == Array(plain[Int(part.lowerBound)..<Int(part.upperBound)]))
        // If the file is said to end elsewhere, the last piece does not open.
        if !part.isEmpty, part.upperBound == Int64(length) {
          #expect(throws: AgeError.damaged) { try file.plain(part, of: bytes, in: Int64(length) + 70_000) }
        }
      }
      for _ in 0..<40 {
        var changed = encrypted
        switch Int.random(in: 0..<3, using: &random) {
        case 0: changed.removeLast(Int.random(in: 1...min(changed.count, 66_000), using: &random))
        case 1: changed[Int.random(in: 0..<changed.count, using: &random)] ^= UInt8(1 << Int.random(in: 0..<8, using: &random))
        default: changed += [UInt8](repeating: 0, count: Int.random(in: 1...70_000, using: &random))
        }
        #expect(throws: AgeError.self) { try AgeFile.open(changed, with: [identity]) }
      }
      if length == 200_000 {
        let start = file.payloadStart
        let piece = 65536 + 16
        let swapped =
          Array(encrypted[..<start]) + encrypted[(start + piece)..<(start + 2 * piece)] + encrypted[start..<(start + piece)]
          + encrypted[(start + 2 * piece)...]
        #expect(throws: AgeError.damaged) { try AgeFile.open(swapped, with: [identity]) }
      }
    }
    // Not a bit of the header's code may differ.
    let encrypted = try AgeFile.encrypt([7], to: [identity.recipient])
    let dashes = try #require(encrypted.firstRange(of: Array("\n--- ".utf8)))
    for offset in 0..<43 {
      var changed = encrypted
      changed[dashes.upperBound + offset] = changed[dashes.upperBound + offset] == UInt8(ascii: "A") ? UInt8(ascii: "E") : UInt8(ascii: "A")
      #expect(throws: AgeError.malformed(reason: "its header was changed"), "letter \(offset)") { try AgeFile.open(changed, with: [identity]) }
    }
    #expect(throws: AgeError.noMatchingIdentity) {
      try AgeFile.open(AgeFile.encrypt([1], to: [AgeIdentity.make().identity.recipient]), with: [identity])
    }
  }

  @Test func `of identities opens with its passphrase alone, as age writes it`() throws {
    let (identity, secret) = AgeIdentity.make()
    let text = Array("# a comment\n\n\(secret)\n".utf8)
    #expect(try AgeIdentity.identities(in: text) { nil }.map(\.recipient) == [identity.recipient])
    let encrypted = AgeFile.encrypt(text, passphrase: "correct horse battery")
    #expect(try AgeIdentity.identities(in: encrypted) { "correct horse battery" }.map(\.recipient) == [identity.recipient])
    #expect(throws: AgeError.wrongPassphrase) { try AgeIdentity.identities(in: encrypted) { "another" } }
    #expect(throws: AgeError.passphraseNeeded) { try AgeIdentity.identities(in: encrypted) { nil } }
    // age asks at a terminal alone.
    let folder = try TemporaryFolder()
    try Folder.write(text, to: folder.path("plain"))
    let script =
      "printf 'correct horse battery\\ncorrect horse battery\\n' | script -qec \"age -p -a -o \(folder.path("sealed")) \(folder.path("plain"))\" /dev/null"
    let made = try Self.run("/bin/sh", ["-c", script])
    #expect(Folder.exists(folder.path("sealed")), "\(made)")
    #expect(
      try AgeIdentity.identities(in: Folder.contents(of: folder.path("sealed"))) { "correct horse battery" }.map(\.recipient) == [identity.recipient])
  }

  @Test func `is made to no recipient that is malformed, and opened by no identity that is`() throws {
    let (identity, secret) = AgeIdentity.make()
    let good = identity.recipient.description
    let bad = [
      "", "age1", String(good.dropLast()), good + "q", good.uppercased(), secret, "age1" + String(repeating: "q", count: 58),
      "ssh-rsa AAAAB3NzaC1yc2E",
      "ssh-ed25519", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==", "age1pq1aaaa",
    ]
    for text in bad { #expect(throws: AgeError.notARecipient(text)) { try AgeRecipient(text) } }
    #expect(try AgeRecipient(" \(good)\n").description == good)
    for text in ["", "# nothing", "hello", secret.lowercased(), String(secret.dropLast()), good, "AGE-PLUGIN-YUBIKEY-1AAAA"] {
      #expect(throws: AgeError.notAnIdentity(line: 1), "\(text)") { try AgeIdentity.identities(in: Array(text.utf8)) { nil } }
    }
    // A bad line is reported by its number, never by its text.
    #expect(throws: AgeError.notAnIdentity(line: 3)) {
      try AgeIdentity.identities(in: Array("# one\n\(secret)\n\(secret)x\n".utf8)) { nil }
    }
    // The neutral point: its owner would share a secret with everyone.
    let neutral = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z"
    #expect(throws: AgeError.notARecipient(neutral)) { try AgeFile.encrypt([1], to: [AgeRecipient(neutral)]) }
  }
}
