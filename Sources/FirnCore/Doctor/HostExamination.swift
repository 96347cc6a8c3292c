internal import Foundation
internal import Platform
package import SystemPackage

/// Examines this machine: temporary folders for runs, programs for recovery without Firn, and timers.
package struct HostExamination: Sendable {
  private let spool: FilePath
  /// Bytes.
  private let spoolCap: Int64
  private let isEncrypted: Bool
  /// Files and programs that notifications need, with what each is for.
  private let notices: (metrics: FilePath?, mailer: FilePath?)

  package init(spool: FilePath, spoolCap: Int64, isEncrypted: Bool, metrics: FilePath?, mailer: FilePath?) {
    self.spool = spool
    self.spoolCap = spoolCap
    self.isEncrypted = isEncrypted
    notices = (metrics, mailer)
  }

  /// - Throws: `Interruption`.
  package func run() throws -> [Finding] {
    var findings = [passingFiles(), recovery()]
    if let metrics = notices.metrics {
      let folder = metrics.removingLastComponent()
      findings.append(
        isWritable(folder)
          ? Finding("metrics", .pass, "\(metrics) can be written")
          : Finding("metrics", .warn, "\(folder) can't be written to", hint: "make it, and let this user write there"))
    }
    if let mailer = notices.mailer {
      findings.append(
        Folder.isExecutable(mailer)
          ? Finding("mail", .pass, "\(mailer) is there")
          : Finding(
            "mail", .warn, "there is no program \(mailer)", hint: "install a mail server such as msmtp-mta, or name its program in mail: program"))
    }
    return findings + (try timers())
  }

  private func isWritable(_ folder: FilePath) -> Bool {
    let probe = folder.appending(".firn-doctor-\(UInt32.random(in: 0 ... .max))")
    guard (try? File(probe, .create)) != nil else { return false }
    return (try? Folder.removeFile(probe)) != nil
  }

  private func passingFiles() -> Finding {
    do {
      let work = try WorkFolder(in: spool)
      defer { work.remove() }
      let probe = try File(work.path.appending("probe"), .create)
      try probe.write([UInt8](repeating: 1, count: 1 << 16).span)
      let givesBack = probe.punchHole(from: 0, count: 1 << 16)
      let free = try Folder.freeSpace(at: spool)
      let text = "\(megabytes(free)) free in \(spool), of which a snapshot takes \(megabytes(spoolCap)) at most"
      if free < spoolCap * 5 / 4 { return Finding("spool", .warn, text, hint: "make room, set spool-cap, or name another folder with spool") }
      return givesBack
        ? Finding("spool", .pass, text)
        : Finding(
          "spool", .warn, "the file system of \(spool) can't give back parts of a file", hint: "dumps lie there whole: name another folder with spool"
        )
    } catch {
      return Finding("spool", .stop, "\(spool) can't be worked in: \(error)", hint: "name another folder with spool")
    }
  }

  /// The programs that recover.sh calls.
  private func recovery() -> Finding {
    let search = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map { FilePath(String($0)) }
    let missing = (["perl", "zstd"] + (isEncrypted ? ["age"] : [])).filter { name in !search.contains { Folder.isExecutable($0.appending(name)) } }
    return missing.isEmpty
      ? Finding("recovery", .pass, "recover.sh finds the programs it needs here")
      : Finding(
        "recovery", .warn, "recover.sh would not find \(missing.joined(separator: ", ")) here",
        hint: "apt-get install \(missing.joined(separator: " "))")
  }

  /// Whether systemd starts anything of Firn's, and how that ended.
  private func timers() throws -> [Finding] {
    guard Folder.exists("/run/systemd/system") else {
      return [Finding("timers", .unknown, "systemd does not run here", hint: "see that cron, or whatever starts Firn, does")]
    }
    func units(_ arguments: [String]) throws -> [[Substring]] {
      let result = try? ProgramResult.run(
        "/usr/bin/systemctl", arguments + ["--plain", "--no-legend", "--no-pager"], environment: ["LC_ALL": "C.UTF-8"])
      try Interruption.check()
      return String(decoding: result?.output ?? [], as: UTF8.self).split(separator: "\n").map { $0.split(separator: " ") }
    }
    let active = try units(["list-units", "--type=timer", "--state=active", "firn-*"]).compactMap(\.first)
    let failed = try units(["list-units", "--type=service", "--state=failed", "firn-*"]).compactMap(\.first)
    var findings: [Finding] = []
    if active.contains(where: { $0.hasPrefix("firn-snapshot@") }) {
      findings.append(Finding("timers", .pass, active.joined(separator: ", ")))
    } else {
      findings.append(
        Finding(
          "timers", .warn, "no timer takes snapshots", hint: "systemctl enable --now firn-snapshot@DATABASE.timer, unless something else does"))
    }
    if !failed.isEmpty {
      findings.append(Finding("last-runs", .warn, "failed: \(failed.joined(separator: ", "))", hint: "see journalctl -u \(failed[0])"))
    }
    return findings
  }
}
