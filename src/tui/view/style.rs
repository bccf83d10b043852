//! Styles with and without colour. Colour never carries information that the text does not.

use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, Borders};

/// Styles of the dashboard, with or without colour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    colored: bool,
}

impl Theme {
    pub(super) const fn new(colored: bool) -> Self {
        Self { colored }
    }

    fn style(self, color: Color, modifier: Modifier) -> Style {
        let style = Style::default().add_modifier(modifier);
        if self.colored { style.fg(color) } else { style }
    }

    pub(super) fn strong(self) -> Style {
        Style::default().add_modifier(Modifier::BOLD)
    }

    pub(super) fn dim(self) -> Style {
        Style::default().add_modifier(Modifier::DIM)
    }

    pub(super) fn good(self) -> Style {
        self.style(Color::Green, Modifier::empty())
    }

    pub(super) fn warning(self) -> Style {
        self.style(Color::Yellow, Modifier::BOLD)
    }

    pub(super) fn alarm(self) -> Style {
        self.style(Color::Red, Modifier::BOLD)
    }

    pub(super) fn selected(self) -> Style {
        Style::default().add_modifier(Modifier::REVERSED)
    }
}

/// A block with a rule above it, which carries the panel's title.
pub(super) fn panel(title: &str) -> Block<'_> {
    Block::default().borders(Borders::TOP).title(format!(" {title} "))
}
