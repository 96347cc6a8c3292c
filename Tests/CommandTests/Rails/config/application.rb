require "rails"
require "active_record/railtie"

module Documents
  class Application < Rails::Application
    config.load_defaults Rails.version.to_f
    config.active_record.dump_schema_after_migration = false
    config.eager_load = false
    config.secret_key_base = "of no use here"
  end
end
