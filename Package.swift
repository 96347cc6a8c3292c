// swift-tools-version: 6.2
import PackageDescription

// Tools that link libraries of the system find them by pkg-config; scripts/test installs them.
let package = Package(
  name: "firn",
  products: ["firn", "firn-snapshot", "firn-verify", "firn-restore", "firn-prune", "firn-migrate", "firn-suite"].map {
    .executable(name: $0, targets: [$0])
  },
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2"),
    .package(url: "https://github.com/apple/swift-system", exact: "1.8.1"),
    .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
  ],
  targets: [
    .systemLibrary(name: "CLinux"),
    .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .systemLibrary(name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),

    .target(name: "Retention", path: "Retention", resources: [.embedInCode("Policies")]),
    .target(name: "Platform", dependencies: ["CLinux", system()]),
    .target(name: "Digests", dependencies: [.product(name: "Crypto", package: "swift-crypto")]),
    .target(name: "Compression", dependencies: ["CZstd"]),
    .target(
      name: "Encryption",
      dependencies: [.product(name: "Crypto", package: "swift-crypto"), .product(name: "CryptoExtras", package: "swift-crypto")]),
    .target(name: "Postgres", dependencies: ["CLibPQ", "Platform", system()]),
    .target(name: "Transfer", dependencies: ["CCurl", "Platform", system()]),
    .target(name: "Repository", dependencies: ["Compression", "Digests", "Encryption", "Platform", "Transfer", system()]),
    .target(
      name: "FirnCore",
      dependencies: ["Compression", "Digests", "Encryption", "Platform", "Postgres", "Repository", "Retention", "Transfer", system()]),
    .target(
      name: "CommandSupport",
      dependencies: ["Compression", "Encryption", "FirnCore", "Platform", "Postgres", "Repository", "Retention", arguments(), "Yams", system()]),

    command("FirnSnapshotCommand"), command("FirnVerifyCommand", "Postgres", system()), command("FirnRestoreCommand", "Postgres", system()),
    command("FirnPruneCommand", "Retention"), command("FirnMigrateCommand", "Postgres", system()),
    command("FirnFrontDoor", "Encryption", "Postgres", "Retention", system()),
    program("firn", "FirnFrontDoor"), program("firn-snapshot", "FirnSnapshotCommand"), program("firn-verify", "FirnVerifyCommand"),
    program("firn-restore", "FirnRestoreCommand"), program("firn-prune", "FirnPruneCommand"), program("firn-migrate", "FirnMigrateCommand"),
    // The installed program: one file with all of them.
    program(
      "firn-suite", "FirnFrontDoor", "FirnSnapshotCommand", "FirnVerifyCommand", "FirnRestoreCommand", "FirnPruneCommand", "FirnMigrateCommand"),
    .executableTarget(name: "sample-data"),

    .target(
      name: "TestSupport",
      dependencies: [
        "CommandSupport", "Compression", "Digests", "Encryption", "FirnCore", "Platform", "Postgres", "Repository", "Transfer", system(),
      ]),
    .testTarget(
      name: "EncryptionTests", dependencies: ["Compression", "Digests", "Encryption", "Platform", "TestSupport", system()],
      resources: [.copy("Vectors")]),
    .testTarget(
      name: "UnitTests",
      dependencies: [
        "CommandSupport", "Compression", "Encryption", "FirnCore", "Platform", "Postgres", "Repository", "Retention", "TestSupport", system(),
      ]),
    .testTarget(name: "RetentionTests", dependencies: ["Platform", "Retention", "TestSupport", system()]),
    .testTarget(
      name: "RepositoryTests",
      dependencies: ["Digests", "Platform", "Repository", "TestSupport", "Transfer", system()], exclude: ["Stub"]),
    .testTarget(
      name: "SimulationTests",
      dependencies: ["Digests", "FirnCore", "Platform", "Repository", "Retention", "TestSupport", system()]),
    .testTarget(
      name: "CommandTests", dependencies: ["Digests", "Encryption", "FirnCore", "Platform", "Postgres", "Repository", "TestSupport", system()],
      exclude: ["Databases", "Migrations", "Package", "Rails", "Stub", "Torture", "Version1"]),
  ]
)

/// One command, with the modules that it needs besides those of every command. A target imports what it names, and nothing else: see scripts/check.
func command(_ name: String, _ more: Target.Dependency...) -> Target {
  .target(name: name, dependencies: ["CommandSupport", "FirnCore", "Platform", "Repository", arguments()] + more)
}

/// A program: no more than a name for what its command does.
func program(_ name: String, _ commands: Target.Dependency...) -> Target { .executableTarget(name: name, dependencies: commands) }

func system() -> Target.Dependency { .product(name: "SystemPackage", package: "swift-system") }
func arguments() -> Target.Dependency { .product(name: "ArgumentParser", package: "swift-argument-parser") }

for target in package.targets where target.type != .system {
  target.swiftSettings = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
  ]
}
