/// A policy that comes with Firn, as its file in `Policies/` has it.
package enum ShippedPolicy: String, CaseIterable, Sendable {
  case nightly
  case hourly
  case preMigration = "pre-migration"
  case sevenYears = "compliance-7-years"

  /// The file's text.
  package var text: String {
    let bytes =
      switch self {
      case .nightly: PackageResources.nightly_yaml
      case .hourly: PackageResources.hourly_yaml
      case .preMigration: PackageResources.pre_migration_yaml
      case .sevenYears: PackageResources.compliance_7_years_yaml
      }
    return String(decoding: bytes, as: UTF8.self)
  }
}
