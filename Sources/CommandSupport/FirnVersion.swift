internal import FirnCore

/// What `--version` prints.
package enum FirnVersion {
  package static var text: String { Firn.version }
}
