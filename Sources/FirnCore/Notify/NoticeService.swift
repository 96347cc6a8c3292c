internal import Foundation

/// Web services for messages whose form of JSON is known.
package enum NoticeService: String, Sendable, CaseIterable {
  case slack, discord, teams, telegram, ntfy

  /// Whether the address alone does not say where a message goes: Telegram needs a chat, and ntfy a topic.
  package var needsChannel: Bool { self == .telegram || self == .ntfy }

  /// - Parameter channel: for services that need one.
  package func template(channel: String) -> NoticeTemplate {
    let channel = NoticeTemplate.escaped(channel)
    let text =
      switch self {
      case .slack: #"{"text": "{{summary}}"}"#
      case .discord: #"{"content": "{{summary}}", "allowed_mentions": {"parse": []}}"#
      case .teams:
        #"{"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": "#
          + #"{"type": "AdaptiveCard", "version": "1.2", "body": [{"type": "TextBlock", "text": "{{summary}}", "wrap": true}]}}]}"#
      case .telegram: #"{"chat_id": "\#(channel)", "text": "{{summary}}"}"#
      case .ntfy: #"{"topic": "\#(channel)", "title": "Firn: {{job}}", "message": "{{summary}}"}"#
      }
    // All of them are valid, whatever the channel's name is.
    return NoticeTemplate(trusted: text)
  }
}
