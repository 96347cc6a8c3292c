internal import CLinux
internal import Glibc
internal import Synchronization

/// The terminal, if there is one.
package enum Terminal {
  package static var errorIsTerminal: Bool { isatty(2) == 1 }
  package static var outputIsTerminal: Bool { isatty(1) == 1 }
  package static var inputIsTerminal: Bool { isatty(0) == 1 }
  /// Whether an operator can be asked, and sees messages.
  package static var isAttended: Bool { inputIsTerminal && errorIsTerminal }
  /// The columns of the terminal on standard error.
  package static var columns: Int { columns(of: 2) }

  /// A terminal that does not know its width, as some consoles, counts as one of 80 columns.
  static func columns(of descriptor: Int32) -> Int {
    let columns = Int(firn_terminal_columns(descriptor))
    return columns == 0 ? 80 : max(20, columns)
  }

  /// Writes to standard error at once. A closed terminal is no failure.
  package static func writeError(_ text: String) {
    lastLine.withLock { line in
      clear(&line)
      write(text, to: 2)
    }
  }

  package static func writeOutput(_ text: String) {
    lastLine.withLock { line in
      if outputIsTerminal { clear(&line) }
      let number = write(text, to: 1)
      line.hasOutput = true
      if number != 0, number != EPIPE, line.outputFailure == nil { line.outputFailure = SystemError("write to", "standard output", number: number) }
    }
  }

  /// The reason why standard output is not complete. A reader that has closed the pipe is no failure.
  package static var outputFailure: SystemError? {
    lastLine.withLock { $0.outputFailure }
  }

  /// Whether anything was written to standard output.
  package static var hasOutput: Bool { lastLine.withLock(\.hasOutput) }

  /// A line of standard error that is drawn again and again.
  private struct LastLine {
    var isDrawn = false
    /// Whether a question is being asked there.
    var isTaken = false
    var hasOutput = false
    var outputFailure: SystemError?
  }

  private static let lastLine = Mutex(LastLine())

  private static func clear(_ line: inout LastLine) {
    if line.isDrawn { write("\r\u{1B}[K", to: 2) }
    line.isDrawn = false
  }

  /// Draws the last line again, unless a question is being asked. Output then replaces it.
  /// - Parameter text: nil to leave it unchanged.
  package static func drawLine(_ text: () -> String?) {
    lastLine.withLock { line in
      guard !line.isTaken, let text = text() else { return }
      write("\r\(text)\u{1B}[K", to: 2)
      line.isDrawn = true
    }
  }

  package static func clearLine() { lastLine.withLock { clear(&$0) } }

  /// Asks, and waits for the answer: no line is drawn over it.
  package static func ask<Answer>(_ question: String, _ answer: () throws(Interruption) -> Answer) throws(Interruption) -> Answer {
    lastLine.withLock { $0.isTaken = true }
    defer { lastLine.withLock { $0.isTaken = false } }
    writeError(printable(question))
    return try answer()
  }

  /// Reads a line from standard input, without its end; nil at the end of input.
  /// - Throws: `Interruption` as soon as a signal arrives.
  package static func readLine() throws(Interruption) -> String? {
    var line: [UInt8] = []
    while true {
      var waiting = pollfd(fd: 0, events: Int16(POLLIN), revents: 0)
      let ready = unsafe poll(&waiting, 1, 100)
      try Interruption.check()
      if ready == 0 || ready < 0 && errno == EINTR { continue }
      var byte: UInt8 = 0
      let got = unsafe read(0, &byte, 1)
      if got < 0 && errno == EINTR { continue }
      if got <= 0 { return line.isEmpty ? nil : String(decoding: line, as: UTF8.self) }
      if byte == 0x0A { return String(decoding: line, as: UTF8.self) }
      line.append(byte)
    }
  }

  /// Reads a line without showing it; nil at the end of input.
  /// - Throws: `Interruption` as soon as a signal arrives.
  package static func readSecret(_ prompt: String) throws(Interruption) -> String? {
    try ask(prompt) { () throws(Interruption) in try readSecret() }
  }

  private static func readSecret() throws(Interruption) -> String? {
    var before = termios()
    guard unsafe tcgetattr(0, &before) == 0 else { return try readLine() }
    var silent = before
    silent.c_lflag &= ~tcflag_t(ECHO)
    _ = unsafe tcsetattr(0, TCSAFLUSH, &silent)
    defer {
      _ = unsafe tcsetattr(0, TCSAFLUSH, &before)
      writeError("\n")
    }
    return try readLine()
  }

  /// The text without what a terminal would take for a command: names of tables may hold it.
  package static func printable(_ text: String) -> String { escaping(text) { isControl($0) && $0 != "\n" } }

  /// As `printable`, and on one line: a name with a line feed must not look like a line of its own.
  package static func oneLine(_ text: String) -> String { escaping(text, where: isControl) }

  private static func escaping(_ text: String, where isEscaped: (Unicode.Scalar) -> Bool) -> String {
    let text = inLocale(text)
    guard text.unicodeScalars.contains(where: isEscaped) else { return text }
    var result = ""
    for scalar in text.unicodeScalars {
      if isEscaped(scalar) { result += "\\u{\(String(scalar.value, radix: 16))}" } else { result.unicodeScalars.append(scalar) }
    }
    return result
  }

  /// Control characters, other line ends, and what changes the direction of the text around it.
  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7F...0x9F, 0x2028...0x202E, 0x2066...0x2069: true
    default: false
    }
  }

  /// - Returns: 0, or why not all was written.
  @discardableResult private static func write(_ text: String, to descriptor: Int32) -> Int32 {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let written = unsafe rest.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if written < 0 && errno == EINTR { continue }
      if written < 0 && errno == EAGAIN {
        // Another program made the terminal non-blocking.
        var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = unsafe poll(&wanted, 1, 1000)
        continue
      }
      if written <= 0 { return written < 0 ? errno : EIO }
      rest = rest.dropFirst(written)
    }
    return 0
  }
}
