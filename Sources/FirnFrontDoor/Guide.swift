import Foundation
import Platform
import SystemPackage

/// A guide for users, as `firn help TOPIC` shows it. Guides are installed as Markdown files in `share/doc/firn`.
struct Guide {
  let topic: String
  private let path: FilePath

  /// All guides that are installed beside the programs, by topic: `Restoring.md` is `restoring`, `DisasterRecovery.md` is
  /// `disaster-recovery`.
  static func all(programs: FilePath) -> [Guide] {
    // The program may be called by a link.
    let real = FilePath(URL(fileURLWithPath: programs.string).resolvingSymlinksInPath().path)
    let folder = real.removingLastComponent().appending("share/doc/firn")
    let names = ((try? Folder.names(in: folder)) ?? []).filter { $0.hasSuffix(".md") && !["README.md", "Firn.md", "CHANGELOG.md"].contains($0) }
    return names.map { Guide(topic: topic(of: String($0.dropLast(3))), path: folder.appending($0)) }.sorted { $0.topic < $1.topic }
  }

  /// `DisasterRecovery` as `disaster-recovery`.
  static func topic(of name: String) -> String {
    name.reduce(into: "") { result, letter in
      if letter.isUppercase && !result.isEmpty { result.append("-") }
      result += letter.lowercased()
    }
  }

  /// Shows it in the pager of a terminal, and prints it if there is none.
  func show() {
    let text = (try? Folder.contents(of: path)).map { String(decoding: $0, as: UTF8.self) } ?? ""
    let environment = ProcessInfo.processInfo.environment
    if Terminal.outputIsTerminal, environment["TERM"] != "dumb" {
      let pager = environment["PAGER"] ?? "less -FRX"
      if !pager.isEmpty, pager != "cat" {
        // `become` returns only if there is no such program; a shell says so itself, so it looks first.
        let program = pager.prefix { $0 != " " }
        Host.become("/bin/sh", arguments: ["sh", "-c", "command -v \(program) >/dev/null && exec \(pager) \"$0\"; exec cat \"$0\"", path.string])
      }
    }
    Terminal.writeOutput(text)
  }
}
