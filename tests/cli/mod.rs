//! The command line as a user sees it, and rules that hold for the sources.

mod command_lines;
mod config;
mod data_folder_formats;
mod kv;
mod layers;
mod licences;
mod profiles;
mod secrets;
mod sources;
mod surface;
mod table_widths;
