/// A value whose key stands in the JSON also where there is none, with `null`.
package struct Nullable<Value: Encodable & Sendable>: Encodable, Sendable {
  package let value: Value?

  package init(_ value: Value?) { self.value = value }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(value)
  }
}
