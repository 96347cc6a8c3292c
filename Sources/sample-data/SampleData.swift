// Writes rows of a small, lifelike application as COPY text: the same seed gives the same bytes.
//
//     sample-data TABLE SEED FIRST COUNT     rows FIRST ..< FIRST + COUNT of TABLE
//     sample-data schema | indexes           the statements around them

import Foundation

@main struct SampleData {
  static func main() {
    let arguments = CommandLine.arguments
    switch arguments.count {
    case 2 where arguments[1] == "schema": print(schema)
    case 2 where arguments[1] == "indexes": print(indexes)
    case 5:
      var writer = RowWriter()
      guard let seed = UInt64(arguments[2]), let first = Int(arguments[3]), let count = Int(arguments[4]),
        writer.rows(of: arguments[1], seed: seed, from: first, count: count)
      else { fallthrough }
    default:
      FileHandle.standardError.write(Data("usage: sample-data schema | indexes | TABLE SEED FIRST COUNT\n".utf8))
      exit(64)
    }
  }
}
