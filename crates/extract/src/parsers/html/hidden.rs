//! Elements that a browser does not show, on account of their name or attributes, with all that is in them.

use std::collections::HashMap;

use super::blocks::is_block;

/// Elements without content.
const VOID: &str = "\
    area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr";
/// Elements that are not shown, or whose content is for browsers that do not know them.
const NOT_SHOWN: [&str; 5] = ["audio", "canvas", "datalist", "rp", "video"];
/// Elements that scripts show when the page is complete.
const PAGE: [&str; 3] = ["html", "head", "body"];
/// Start tags that end an open paragraph (WHATWG HTML, 13.2.6.4.7).
const ENDS_PARAGRAPH: &str = "\
    address article aside blockquote center dd details dialog dir div dl dt fieldset figcaption figure footer form h1 \
    h2 h3 h4 h5 h6 header hgroup hr li listing main menu nav ol p plaintext pre search section summary table ul xmp";
/// Elements whose end tag may be left out.
const OPTIONAL_END: &str = "dd dt li optgroup option p rp rt tbody td tfoot th thead tr";
/// Open elements within a hidden one, at most; those within the last are only counted.
const MAX_OPEN: usize = 256;

/// The attributes that decide whether an element is shown.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Showing<'a> {
    pub(super) hidden: Option<&'a str>,
    pub(super) style: Option<&'a str>,
    pub(super) is_open: bool,
}

impl Showing<'_> {
    fn hides(self, name: &str) -> bool {
        // A search in the page shows what is hidden until it is found.
        let has_hidden = self.hidden.is_some_and(|value| !value.trim().eq_ignore_ascii_case("until-found"));
        NOT_SHOWN.contains(&name)
            || (name == "dialog" && !self.is_open)
            || (!PAGE.contains(&name) && (has_hidden || self.style.is_some_and(style_hides)))
    }
}

/// Whether the declarations of a `style` attribute hide an element with all that is in it. Of two for one property, the last
/// counts. (What is in an element with `visibility:hidden` may be shown.)
fn style_hides(style: &str) -> bool {
    let mut declarations = style.split(';').filter_map(|declaration| declaration.split_once(':'));
    let display = declarations.rfind(|(name, _)| name.trim().eq_ignore_ascii_case("display"));
    let display = display.map_or("", |(_, value)| value.split('!').next().unwrap_or_default().trim());
    display.eq_ignore_ascii_case("none")
}

/// The open elements from the outermost hidden one inwards; none where the page is shown.
#[derive(Debug, Default)]
pub(super) struct HiddenElement {
    open: Vec<String>,
    /// How many of each name are open, so that an end tag without a start tag costs no search.
    counts: HashMap<String, usize>,
    /// How many more are open than [`MAX_OPEN`].
    uncounted: usize,
}

impl HiddenElement {
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The hidden element, if an end tag belongs to it.
    pub(super) fn without_end(&self) -> Option<&str> {
        self.open.first().map(String::as_str).filter(|name| !is_in(OPTIONAL_END, name))
    }

    /// Reads a start tag. Returns whether what it starts is hidden.
    pub(super) fn start(&mut self, name: &str, is_empty: bool, showing: Showing<'_>) -> bool {
        self.end_implied(name);
        let is_hidden = self.is_open() || showing.hides(name);
        if !is_hidden || is_empty || is_in(VOID, name) {
            return is_hidden;
        }
        if self.open.len() < MAX_OPEN {
            self.open.push(name.to_owned());
            *self.counts.entry(name.to_owned()).or_default() += 1;
        } else {
            self.uncounted += 1;
        }
        true
    }

    /// Reads an end tag. Returns whether it is that of the hidden element or of one in it.
    pub(super) fn end(&mut self, name: &str) -> bool {
        let Some(hidden) = self.open.first() else { return false };
        if self.uncounted > 0 {
            self.uncounted -= 1;
            return true;
        }
        if self.count(name) > 0 {
            let at = self.open.iter().rposition(|open| open == name).unwrap_or(0);
            self.close(at);
            return true;
        }
        // It may be that of an element around the hidden one, which ends with it.
        let is_around = if is_block(hidden) { is_block(name) && !matches!(name, "form" | "p") } else { name != "br" };
        if is_around {
            self.close(0);
        }
        !is_around
    }

    /// Ends the elements that the start tag ends.
    fn end_implied(&mut self, name: &str) {
        let (ended, within): (&[&str], &[&str]) = match name {
            "li" => (&["li"], &["menu", "ol", "ul"]),
            "dd" | "dt" => (&["dd", "dt"], &["dl"]),
            "option" => (&["option"], &["datalist", "select"]),
            "optgroup" => (&["optgroup", "option"], &["datalist", "select"]),
            "td" | "th" => (&["td", "th"], &["table"]),
            "tr" => (&["td", "th", "tr"], &["table"]),
            "tbody" | "tfoot" | "thead" => (&["tbody", "td", "tfoot", "th", "thead", "tr"], &["table"]),
            "rp" | "rt" => (&["rp", "rt"], &["ruby"]),
            _ => (&[], &[]),
        };
        self.end_within(ended, within);
        if is_in(ENDS_PARAGRAPH, name) {
            self.end_within(&["p"], &["button", "caption", "object", "table", "td", "th"]);
        }
    }

    /// Ends the outermost of some elements that is not around one of others.
    fn end_within(&mut self, ended: &[&str], within: &[&str]) {
        if self.uncounted > 0 || ended.iter().all(|name| self.count(name) == 0) {
            return;
        }
        let start = self.open.iter().rposition(|open| within.contains(&open.as_str())).map_or(0, |at| at + 1);
        if let Some(at) = self.open[start..].iter().position(|open| ended.contains(&open.as_str())) {
            self.close(start + at);
        }
    }

    /// Ends the element at this depth and those in it.
    fn close(&mut self, at: usize) {
        for name in self.open.drain(at..) {
            if let Some(count) = self.counts.get_mut(&name) {
                *count -= 1;
            }
        }
        if self.open.is_empty() {
            self.counts.clear();
        }
    }

    fn count(&self, name: &str) -> usize {
        self.counts.get(name).copied().unwrap_or(0)
    }
}

fn is_in(names: &str, name: &str) -> bool {
    names.split(' ').any(|listed| listed == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_attribute_hides() {
        for style in ["display:none", " color: red; DISPLAY : None !important;"] {
            assert!(style_hides(style), "{style}");
        }
        for style in ["", "display:block", "display:none;display:block", "x-display:none", "display", "content:none"] {
            assert!(!style_hides(style), "{style}");
        }
    }
}
