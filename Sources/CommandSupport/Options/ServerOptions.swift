package import ArgumentParser

/// Which server, and which database.
package struct ConnectionOptions: ParsableArguments {
  @Option(
    name: .long,
    help: ArgumentHelp(
      "Server and database. Default: env DATABASE_URL, then libpq's PG* variables and service file, then firn.yaml.", valueName: "url"))
  package var databaseURL: String?

  @Flag(
    name: .long,
    help: "Accept a server that reports another port than the given one, because the port is forwarded (Docker, ssh -L). Not for poolers.")
  package var throughForwardedPort = false

  @Option(
    name: .customLong("server"),
    help: ArgumentHelp(
      "Name of a server in firn.yaml. Restores also take a source of the store; firn-snapshot --all takes several.", valueName: "name"))
  package var servers: [String] = []

  package init() {}
}

/// Which source's snapshots.
package struct SourceOption: ParsableArguments {
  @Option(
    name: .customLong("server"),
    help: ArgumentHelp("Only snapshots of this server: a name in firn.yaml, or a source of the store.", valueName: "name"))
  package var name: String?

  package init() {}
}

/// Where PostgreSQL's tools are.
package struct ToolOptions: ParsableArguments {
  @Option(
    name: .customLong("pg-bin"),
    help: ArgumentHelp(
      "Look here for pg_dump and pg_restore first. May be repeated. Default: env FIRN_PG_BIN, then pg-bin in firn.yaml, then Debian's folders and the PATH.",
      valueName: "folder"))
  package var folders: [String] = []

  package init() {}
}

/// The folder for temporary files.
package struct SpoolOption: ParsableArguments {
  @Option(
    name: .customLong("spool"),
    help: ArgumentHelp("Directory for temporary files. Default: spool in firn.yaml, then $TMPDIR or /var/tmp.", valueName: "folder"))
  package var folder: String?

  package init() {}
}

/// Options of commands that have PostgreSQL's tools work on a server.
package struct ServerOptions: ParsableArguments {
  @OptionGroup package var connection: ConnectionOptions
  @OptionGroup package var tools: ToolOptions
  @OptionGroup package var spool: SpoolOption

  @Option(
    name: .long,
    help: ArgumentHelp(
      "How many tables are processed at the same time, and with --all how many small databases. Default: jobs in firn.yaml, then the number of processors, at most 8.",
      valueName: "n")
  )
  package var jobs: Int?

  package init() {}

  package func validate() throws {
    if let jobs, !(1...64).contains(jobs) { throw ValidationError("--jobs takes a number from 1 to 64") }
  }
}
