internal import CCurl
internal import Foundation
internal import Platform
internal import SystemPackage

/// libcurl's handle of one request. It belongs to the thread of a `TransferEngine` once it was begun.
@safe final class EasyHandle {
  private let handle: OpaquePointer
  /// Where libcurl writes what went wrong.
  private let message = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
  private var headers: UnsafeMutablePointer<curl_slist>?
  private var commandsBefore: UnsafeMutablePointer<curl_slist>?
  private var commandsAfter: UnsafeMutablePointer<curl_slist>?
  let exchange: Exchange
  private let isOfFileServer: Bool

  /// - Throws: `TransferError.invalid`.
  init(_ request: TransferRequest, _ exchange: Exchange) throws(TransferError) {
    guard let handle = unsafe curl_easy_init() else { throw .invalid(reason: "no memory for a request") }
    unsafe self.handle = OpaquePointer(handle)
    self.exchange = exchange
    isOfFileServer = request.login != nil
    try prepare(request)
  }

  // curl_easy_cleanup(3) must come after the handle has left its multi handle: `TransferEngine` drops its reference
  // then.
  deinit {
    unsafe curl_easy_cleanup(pointer)
    unsafe curl_slist_free_all(headers)
    unsafe curl_slist_free_all(commandsBefore)
    unsafe curl_slist_free_all(commandsAfter)
    unsafe message.deallocate()
  }

  var pointer: UnsafeMutableRawPointer { unsafe UnsafeMutableRawPointer(handle) }

  // An option that can't be set must be an error: without the signature a request would carry the secret itself.
  private func set(_ option: CURLoption, _ value: Int) throws(TransferError) { try check(unsafe firn_curl_set_long(pointer, option, value)) }
  // libcurl copies texts (CURLOPT_URL(3) and others).
  private func set(_ option: CURLoption, _ value: String) throws(TransferError) { try check(unsafe firn_curl_set_text(pointer, option, value)) }

  private func check(_ code: CURLcode) throws(TransferError) {
    if code != CURLE_OK { throw .invalid(reason: "libcurl refuses a setting: \(unsafe String(cString: curl_easy_strerror(code)))") }
  }

  private func prepare(_ request: TransferRequest) throws(TransferError) {
    try set(CURLOPT_URL, request.url)
    try set(CURLOPT_PROTOCOLS_STR, request.login == nil ? "http,https" : "sftp")
    try set(CURLOPT_NOSIGNAL, 1)
    try set(CURLOPT_NOPROXY, ProcessInfo.processInfo.environment["no_proxy"] ?? ProcessInfo.processInfo.environment["NO_PROXY"] ?? "")
    // Keys are encoded as the signature has them.
    try set(CURLOPT_PATH_AS_IS, 1)
    try set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_2TLS))
    try set(CURLOPT_CONNECTTIMEOUT_MS, Int(request.connectTimeout.inSeconds * 1000))
    // A transfer may take as long as it takes, while something comes.
    try set(CURLOPT_LOW_SPEED_LIMIT, 1)
    try set(CURLOPT_LOW_SPEED_TIME, 60)
    if let timeout = request.timeout { try set(CURLOPT_TIMEOUT_MS, Int(timeout.inSeconds * 1000)) }
    try set(CURLOPT_TCP_KEEPALIVE, 1)
    // A server's leave to send is not waited for: it takes as long as an answer does.
    try set(CURLOPT_EXPECT_100_TIMEOUT_MS, 1)
    try set(CURLOPT_BUFFERSIZE, 512 << 10)
    try set(CURLOPT_UPLOAD_BUFFERSIZE, 1 << 20)
    if let authorities = request.authorities { try set(CURLOPT_CAINFO, authorities.string) }
    if let signing = request.signing {
      try set(CURLOPT_AWS_SIGV4, "aws:amz:\(signing.region):\(signing.service)")
      try set(CURLOPT_USERNAME, signing.keyID)
      try set(CURLOPT_PASSWORD, signing.secret)
    }
    if let login = request.login { try prepare(login, request) }
    for header in request.headers { unsafe headers = try unsafe Self.longer(headers, "\(header.name): \(header.value)") }
    unsafe firn_curl_set_list(pointer, CURLOPT_HTTPHEADER, headers)
    try prepareBody(request)
    unsafe message.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    unsafe firn_curl_set_pointer(pointer, CURLOPT_ERRORBUFFER, message)
    let context = unsafe Unmanaged.passUnretained(exchange).toOpaque()
    unsafe firn_curl_set_pointer(pointer, CURLOPT_PRIVATE, context)
    unsafe firn_curl_set_pointer(pointer, CURLOPT_WRITEDATA, context)
    unsafe firn_curl_set_callback(pointer, CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
      unsafe Exchange.of(context).receive(UnsafeRawBufferPointer(start: bytes, count: size * count))
    }
    unsafe firn_curl_set_pointer(pointer, CURLOPT_HEADERDATA, context)
    unsafe firn_curl_set_callback(pointer, CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
      unsafe Exchange.of(context).receive(header: UnsafeRawBufferPointer(start: bytes, count: size * count))
    }
  }

  private func prepareBody(_ request: TransferRequest) throws(TransferError) {
    switch request.method {
    case "GET": try set(CURLOPT_HTTPGET, 1)
    case "HEAD": try set(CURLOPT_NOBODY, 1)
    case "PUT", "POST":
      try set(CURLOPT_UPLOAD, 1)
      if request.method != "PUT" { try set(CURLOPT_CUSTOMREQUEST, request.method) }
      unsafe firn_curl_set_offset(pointer, CURLOPT_INFILESIZE_LARGE, curl_off_t(request.body.count))
      let context = unsafe Unmanaged.passUnretained(exchange).toOpaque()
      unsafe firn_curl_set_pointer(pointer, CURLOPT_READDATA, context)
      unsafe firn_curl_set_callback(pointer, CURLOPT_READFUNCTION) { bytes, size, count, context in
        unsafe Exchange.of(context).send(into: UnsafeMutableRawBufferPointer(start: bytes, count: size * count))
      }
      // Where a connection that was kept turns out to be gone, libcurl begins again.
      unsafe firn_curl_set_pointer(pointer, CURLOPT_SEEKDATA, context)
      unsafe firn_curl_set_seek(pointer) { context, offset, origin in
        guard origin == SEEK_SET else { return CURL_SEEKFUNC_CANTSEEK }
        unsafe Exchange.of(context).seek(to: Int64(offset))
        return CURL_SEEKFUNC_OK
      }
    default: try set(CURLOPT_CUSTOMREQUEST, request.method)
    }
  }

  private static func longer(
    _ list: UnsafeMutablePointer<curl_slist>?, _ line: String
  ) throws(TransferError) -> UnsafeMutablePointer<curl_slist> {
    guard !line.utf8.contains(where: { $0 < 0x20 }) else { throw .invalid(reason: "a header of more than one line") }
    guard let longer = unsafe curl_slist_append(list, line) else { throw .invalid(reason: "no memory for a request") }
    return unsafe longer
  }

  private func prepare(_ login: TransferRequest.Login, _ request: TransferRequest) throws(TransferError) {
    try set(CURLOPT_USERNAME, login.user)
    try set(CURLOPT_SSH_KNOWNHOSTS, login.knownHosts.string)
    if let key = login.key {
      try set(CURLOPT_SSH_AUTH_TYPES, firn_curl_ssh_key)
      try set(CURLOPT_SSH_PRIVATE_KEYFILE, key.string)
      // Without it libcurl makes up the name of a public key's file that may not be there.
      try set(CURLOPT_SSH_PUBLIC_KEYFILE, "")
    } else {
      try set(CURLOPT_SSH_AUTH_TYPES, firn_curl_ssh_agent)
    }
    try set(CURLOPT_FTP_CREATE_MISSING_DIRS, Int(CURLFTP_CREATE_DIR_RETRY.rawValue))
    try set(CURLOPT_NEW_FILE_PERMS, 0o600)
    try set(CURLOPT_NEW_DIRECTORY_PERMS, 0o700)
    // Each transfer would ask first for a file that is not there yet.
    if request.asksForTime { try set(CURLOPT_FILETIME, 1) }
    if request.wantsFreshConnection {
      try set(CURLOPT_FRESH_CONNECT, 1)
      // Servers let a user in so many times at once.
      try set(CURLOPT_FORBID_REUSE, 1)
    }
    if let range = request.range { try set(CURLOPT_RANGE, "\(range.lowerBound)-\(range.upperBound)") }
    if request.appends { try set(CURLOPT_APPEND, 1) }
    for command in request.commandsBefore { unsafe commandsBefore = try unsafe Self.longer(commandsBefore, command) }
    for command in request.commandsAfter { unsafe commandsAfter = try unsafe Self.longer(commandsAfter, command) }
    unsafe firn_curl_set_list(pointer, CURLOPT_QUOTE, commandsBefore)
    unsafe firn_curl_set_list(pointer, CURLOPT_POSTQUOTE, commandsAfter)
  }

  /// The result of a transfer.
  func outcome(_ code: CURLcode) -> Result<TransferResponse, TransferError> {
    if let failure = exchange.failure { return .failure(failure) }
    guard code == CURLE_OK else { return .failure(error(code)) }
    var status = 0
    unsafe firn_curl_get_long(pointer, CURLINFO_RESPONSE_CODE, &status)
    var response = TransferResponse(status: status, headers: exchange.headers, body: exchange.received)
    if isOfFileServer {
      var (size, modified) = (curl_off_t(-1), curl_off_t(-1))
      unsafe firn_curl_get_offset(pointer, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &size)
      unsafe firn_curl_get_offset(pointer, CURLINFO_FILETIME_T, &modified)
      // libcurl gives no size for an empty file, nor for one whose size is unknown.
      if size >= 0 { response.size = Int64(size) }
      if modified >= 0 { response.modified = Int64(modified) }
    }
    return .success(response)
  }

  private func error(_ code: CURLcode) -> TransferError {
    let detail = unsafe String(cString: message)
    // How long it took differs each time, and a failure that repeats is reported once.
    let reason = unsafe (detail.isEmpty ? String(cString: curl_easy_strerror(code)) : detail).replacing(/\ after \d+ ms/, with: "")
    switch code {
    case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_CONNECT: return .unreachable(reason: reason)
    case CURLE_REMOTE_FILE_NOT_FOUND:
      // libssh2 keeps a connection's last error, and libcurl takes it for the server's answer if the connection
      // breaks.
      var connections = 0
      unsafe firn_curl_get_long(pointer, CURLINFO_NUM_CONNECTS, &connections)
      return .missing(isCertain: connections > 0)
    // Turned away before anything was said, as by a server that has too many to let in.
    case CURLE_FAILED_INIT where isOfFileServer: return .interrupted(reason: reason)
    case CURLE_BAD_DOWNLOAD_RESUME where isOfFileServer, CURLE_RANGE_ERROR where isOfFileServer: return .outOfRange
    case CURLE_REMOTE_ACCESS_DENIED: return .denied(reason: reason)
    case CURLE_LOGIN_DENIED: return .loginDenied(reason: reason)
    case CURLE_QUOTE_ERROR, CURLE_UPLOAD_FAILED: return .refused(reason: reason)
    case CURLE_REMOTE_DISK_FULL: return .full
    case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_CERTPROBLEM:
      return .untrusted(reason: reason)
    case CURLE_URL_MALFORMAT, CURLE_UNSUPPORTED_PROTOCOL, CURLE_BAD_FUNCTION_ARGUMENT, CURLE_FAILED_INIT, CURLE_UNKNOWN_OPTION,
      CURLE_NOT_BUILT_IN:
      return .invalid(reason: reason)
    default: return .interrupted(reason: reason)
    }
  }
}

/// The data of one request and its answer. Only the engine's thread accesses it while the request runs.
@safe final class Exchange: @unchecked Sendable {
  // Sound: made by the caller, handed to the engine, and looked at by the caller after the engine has said that it is done.
  private let body: TransferRequest.Body
  private let limit: Int
  private var sent = 0
  private var file: OpenFile?
  private(set) var received: [UInt8] = []
  private(set) var headers: [String: String] = [:]
  private(set) var failure: TransferError?

  private final class OpenFile {
    let file: File
    init(_ path: FilePath) throws { file = try File(path, .read) }
  }

  init(_ request: TransferRequest) {
    body = request.body
    limit = request.limit
  }

  static func of(_ context: UnsafeMutableRawPointer?) -> Exchange { unsafe Unmanaged<Exchange>.fromOpaque(context!).takeUnretainedValue() }

  func receive(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard received.count + bytes.count <= limit else {
      failure = .tooLarge
      return 0
    }
    unsafe received.append(contentsOf: bytes)
    return bytes.count
  }

  func receive(header bytes: UnsafeRawBufferPointer) -> Int {
    // A file server's answer to a command may have several lines.
    for line in unsafe String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
      if line.hasPrefix("HTTP/") {
        // Another answer begins, as after "100 Continue".
        headers = [:]
        received = []
      } else if let colon = line.firstIndex(of: ":") {
        headers[line[..<colon].lowercased()] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespacesAndNewlines)
      }
    }
    return bytes.count
  }

  func send(into target: UnsafeMutableRawBufferPointer) -> Int {
    switch body {
    case .none: return 0
    case .bytes(let bytes):
      let count = min(target.count, bytes.count - sent)
      unsafe bytes.withUnsafeBytes { unsafe target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[sent..<(sent + count)])) }
      sent += count
      return count
    case .file(let path, _):
      do {
        if file == nil { file = try OpenFile(path) }
        let bytes = try file!.file.read(count: target.count, from: Int64(sent))
        unsafe bytes.withUnsafeBytes { unsafe target.copyMemory(from: $0) }
        sent += bytes.count
        return bytes.count
      } catch {
        failure = .unreadableFile(reason: "\(error)")
        return Int(CURL_READFUNC_ABORT)
      }
    }
  }

  func seek(to offset: Int64) { sent = Int(offset) }
}
