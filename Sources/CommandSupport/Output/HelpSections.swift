internal import ArgumentParser
internal import Platform

/// The sections that follow the options in every help: EXAMPLES and EXIT CODES.
package enum HelpSections {
  package struct Example: Sendable {
    package let command: String
    package let purpose: String

    init(_ command: String, _ purpose: String) {
      self.command = command
      self.purpose = purpose
    }
  }

  /// Examples by command, such as `firn list`.
  package static let examples: [String: [Example]] = [
    "firn": [
      Example("firn init", "Create the repository in the default location."),
      Example("firn snapshot shop", "Take a snapshot of the database shop."),
      Example("firn list", "List all snapshots."),
      Example("firn restore shop", "Replace shop with its newest snapshot, after a confirmation."),
      Example("firn help restoring", "Read the guide on restoring."),
    ],
    "firn-snapshot": [
      Example("firn-snapshot shop", "Take a snapshot; the server comes from DATABASE_URL or libpq's variables."),
      Example("firn-snapshot --all --server main", "Take a snapshot of every database of a server in firn.yaml."),
      Example("firn-snapshot --all --exclude-database 'scratch_*'", "Take a snapshot of every database of the server, except some."),
      Example("firn-snapshot shop --kind pre-migration --tag release=4.2", "Record the purpose and the release."),
      Example("firn-snapshot shop --exclude-table-data 'public.events_2019_*'", "Leave out the rows of some tables."),
    ],
    "firn-verify": [
      Example("firn-verify shop latest", "Read every byte of the newest snapshot."),
      Example("firn-verify shop latest --drill", "Restore it on a throw-away server and compare."),
      Example("firn-verify --sample 5%", "Read the next twentieth of the store, every night."),
      Example("firn-verify shop --repair --from s3://bucket/firn", "Repair damaged files from a copy."),
    ],
    "firn-restore": [
      Example("firn-restore shop", "Replace shop with its newest snapshot; the previous database is kept."),
      Example("firn-restore shop --undo", "Bring the previous database back."),
      Example("firn-restore shop before:2h --as shop_old", "Restore an earlier state beside it."),
      Example("firn-restore shop --table public.orders", "Restore one table's rows into a new schema of the live database."),
      Example("firn-restore shop --as shop_staging --run masks.sql", "Make a copy for tests, masked before anyone can connect to it."),
      Example("firn-restore shop --dry-run", "Show what would be replaced, and stop."),
      Example("firn-restore --all --server main before:yesterday", "Restore every missing database of a lost server."),
    ],
    "firn-prune": [
      Example("firn-prune", "Show what the policy in firn.yaml would remove."),
      Example("firn-prune --policy nightly --apply", "Remove what the policy nightly does not keep."),
      Example("firn-prune shop --keep-last 7 --keep-weekly 4 --simulate 90d", "Show what rules would keep over 90 days."),
    ],
    "firn-migrate": [
      Example("firn-migrate check", "Check whether the database is ready."),
      Example("firn-migrate run -- bundle exec rails db:migrate", "Migrate, with a snapshot before and a way back."),
    ],
    "firn-migrate check": [
      Example("firn-migrate check --expect-environment production", "Check the database, and that it is the production database.")
    ],
    "firn-migrate run": [
      Example("firn-migrate run --expect-environment production -- bundle exec rails db:migrate", "Migrate production only."),
      Example("firn-migrate run --on-failure rollback -- bin/migrate", "Roll back if it fails."),
    ],
    "firn-migrate recover": [Example("firn-migrate recover", "Start the application again after a killed migration.")],
    "firn-migrate rehearse": [
      Example(
        "firn-migrate rehearse --fail-on rewrite,index,'exclusive>2s' -- bundle exec rails db:migrate",
        "Try a migration, and fail if it would block production.")
    ],
    "firn-migrate watch": [
      Example("firn-migrate watch", "Show locks and progress until Ctrl-C."),
      Example("firn-migrate watch --end 4711", "End the session of a server process, after a confirmation."),
    ],
    "firn-migrate backfill": [
      Example(
        "firn-migrate backfill --table documents --set \"status = 'pending'\" --where \"status IS NULL\"", "Fill a new column in batches.")
    ],
    "firn init": [
      Example("firn init", "Create the repository in the default location."),
      Example("firn init --store s3://bucket/firn --recipient age1…", "Create an encrypted one in a bucket."),
    ],
    "firn setup": [
      Example("firn setup", "Show the SQL that --apply would run."),
      Example("firn setup --apply", "Create the roles, as root on the server's machine."),
    ],
    "firn list": [
      Example("firn list shop", "List the snapshots of one database."),
      Example("firn list --kind nightly --last 7", "List the newest nightly snapshots."),
    ],
    "firn show": [
      Example("firn show shop", "Describe the newest snapshot."),
      Example("firn show shop before:yesterday latest", "Compare two snapshots."),
    ],
    "firn status": [Example("firn status", "Check all databases; exit code 3 if one needs attention.")],
    "firn log": [
      Example("firn log --failed", "List the newest runs that failed."),
      Example("firn log shop --since yesterday", "List the runs on one database since yesterday."),
    ],
    "firn source": [Example("firn source list", "List the servers whose snapshots are in the store.")],
    "firn source list": [Example("firn source list", "List the sources, with their hosts.")],
    "firn source rename": [Example("firn source rename 7312345678901234567 main", "Give a source a name that people know.")],
    "firn doctor": [Example("firn doctor", "Check everything a backup and a restore need.")],
    "firn report": [Example("firn report --output firn.html", "Write the page.")],
    "firn copy": [
      Example("firn copy --to s3://bucket/firn", "Copy everything that is missing there."),
      Example("firn copy latest --to sftp://backup@host/firn", "Copy the newest snapshot of each database."),
    ],
    "firn key": [Example("firn key new backup.key", "Make an identity, and print its recipient.")],
    "firn key new": [Example("firn key new backup.key --passphrase", "Make an identity that a passphrase protects.")],
    "firn key add": [Example("firn key add age1…", "Add a recipient.")],
    "firn key list": [Example("firn key list", "List the recipients.")],
    "firn key trust": [Example("firn key trust", "Accept changed recipients, after a confirmation.")],
    "firn hold": [
      Example("firn hold shop latest --why audit --until 2027-01-31", "Keep a snapshot until the end of January 2027."),
      Example("firn hold shop 20261122T020000Z-k3f9 --release", "Release it."),
    ],
    "firn unlock": [Example("firn unlock", "List the locks, and remove stale ones after a confirmation.")],
  ]

  /// The name of the command that arguments lead to, such as `firn key new` for `help key new`.
  static func name(of root: any ParsableCommand.Type, _ arguments: some Sequence<String>) -> String {
    var (command, name) = (root, root.configuration.commandName ?? root._commandName)
    for word in arguments where !word.hasPrefix("-") && word != "help" {
      guard let next = command.configuration.subcommands.first(where: { ($0.configuration.commandName ?? $0._commandName) == word }) else { break }
      command = next
      name += " \(word)"
    }
    return name
  }

  /// The sections for a command, as lines of at most this width.
  static func text(for name: String, columns: Int) -> String {
    var lines: [String] = []
    if let examples = examples[name] {
      lines.append("EXAMPLES:")
      for example in examples { lines += ["  \(example.command)"] + Table.wrapped(example.purpose, to: columns - 6).map { "      \($0)" } }
      lines.append("")
    }
    lines.append("EXIT CODES:")
    for status in ExitStatus.allCases {
      let code = "\(status.rawValue)"
      for (number, line) in Table.wrapped(status.meaning, to: columns - 7).enumerated() {
        lines.append((number == 0 ? String(repeating: " ", count: 5 - code.count) + code : "     ") + "  " + line)
      }
    }
    return Terminal.printable(lines.joined(separator: "\n"))
  }
}
