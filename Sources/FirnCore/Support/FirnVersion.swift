/// The version of this program.
package enum Firn {
  package static let version = "0.1.0"
}
