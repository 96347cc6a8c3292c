# Rails takes the folder of this file for the application's.
require_relative "config/environment"
run Rails.application
