//! The command line as a user sees it, and rules that hold for the sources.

mod command_lines;
mod completion;
mod config;
mod data_folder_formats;
mod interrupted_bootstrap;
mod kv;
mod layers;
mod licences;
mod manifests_converge;
mod profiles;
mod read_only_folders;
mod secrets;
mod settings_files;
mod sources;
mod surface;
mod table_widths;
