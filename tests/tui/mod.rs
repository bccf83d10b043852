//! The dashboard as a person sees it: whole screens at fixed sizes, and what keys do.

mod keys;
mod scenes;
mod screens;
