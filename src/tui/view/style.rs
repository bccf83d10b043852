//! Colours, and doing without them: what matters is always said in words too.

use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, Borders};

/// Styles of the dashboard; plain where colours are not wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look(pub(super) bool);

impl Look {
    fn of(self, color: Color, modifier: Modifier) -> Style {
        let style = Style::default().add_modifier(modifier);
        if self.0 { style.fg(color) } else { style }
    }

    pub(super) fn strong(self) -> Style {
        Style::default().add_modifier(Modifier::BOLD)
    }

    pub(super) fn dim(self) -> Style {
        Style::default().add_modifier(Modifier::DIM)
    }

    pub(super) fn good(self) -> Style {
        self.of(Color::Green, Modifier::empty())
    }

    pub(super) fn warning(self) -> Style {
        self.of(Color::Yellow, Modifier::BOLD)
    }

    pub(super) fn alarm(self) -> Style {
        self.of(Color::Red, Modifier::BOLD)
    }

    pub(super) fn chosen(self) -> Style {
        Style::default().add_modifier(Modifier::REVERSED)
    }
}

/// A panel with its name.
pub(super) fn panel(title: &str) -> Block<'_> {
    Block::default().borders(Borders::TOP).title(format!(" {title} "))
}
