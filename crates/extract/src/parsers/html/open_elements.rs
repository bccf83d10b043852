//! The open elements that decide whether a page's text is shown, and how its tags are read (WHATWG HTML, 13.2.6.4 and
//! 13.2.6.5).

/// Start tags in SVG or MathML that end it, because they are HTML. (So does `font` with some attributes, but SVG has it too.)
const ENDS_FOREIGN_CONTENT: &str = "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing menu meta \
    nobr ol p pre ruby s small span strike strong sub sup table tt u ul var";

/// An element that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Template,
    Svg,
    /// Text in SVG.
    SvgText,
    /// HTML in SVG.
    ForeignObject,
    /// A title or description in SVG.
    SvgTitle,
    SvgDescription,
    /// What SVG does not draw.
    SvgMetadata,
    SvgScript,
    SvgStyle,
    Math,
    /// The meaning of a formula in another notation.
    Annotation,
    AnnotationXml,
}

const ELEMENTS: usize = Element::AnnotationXml as usize + 1;

impl Element {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"template" => Self::Template,
            b"svg" => Self::Svg,
            b"text" => Self::SvgText,
            b"foreignobject" => Self::ForeignObject,
            b"title" => Self::SvgTitle,
            b"desc" => Self::SvgDescription,
            b"metadata" => Self::SvgMetadata,
            b"script" => Self::SvgScript,
            b"style" => Self::SvgStyle,
            b"math" => Self::Math,
            b"annotation" => Self::Annotation,
            b"annotation-xml" => Self::AnnotationXml,
            _ => return None,
        })
    }

    /// Whether its content is SVG or MathML.
    fn is_foreign(self) -> bool {
        !matches!(self, Self::Template | Self::ForeignObject | Self::SvgTitle | Self::SvgDescription)
    }

    /// Whether a start tag of that name means this element in the content of `parent`, or in HTML.
    fn is_in(self, parent: Option<Self>) -> bool {
        match parent.filter(|parent| parent.is_foreign()) {
            None => matches!(self, Self::Template | Self::Svg | Self::Math),
            Some(Self::Math | Self::Annotation | Self::AnnotationXml) => {
                matches!(self, Self::Svg | Self::Math | Self::Annotation | Self::AnnotationXml)
            }
            Some(_) => !matches!(self, Self::Template | Self::Math | Self::Annotation | Self::AnnotationXml),
        }
    }

    fn visibility(self, parent: Visibility) -> Visibility {
        match self {
            _ if parent == Visibility::Hidden => Visibility::Hidden,
            Self::Svg => Visibility::NoText,
            Self::SvgText | Self::ForeignObject | Self::Math => Visibility::Text,
            _ => Visibility::Hidden,
        }
    }
}

/// What a browser shows of an element's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visibility {
    /// Its text.
    Text,
    /// Only the text of some elements in it.
    NoText,
    Hidden,
}

/// What a start or end tag means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::parsers) enum TagKind {
    Html,
    /// Text in SVG starts or ends.
    SvgText,
    /// Another element of SVG or MathML, or a template.
    Other,
}

/// The open elements that matter, outermost first.
#[derive(Debug, Default)]
pub(in crate::parsers) struct OpenElements {
    open: Vec<(Element, Visibility)>,
    /// How many of each are open, so that an end tag without a start tag costs no search.
    counts: [usize; ELEMENTS],
}

impl OpenElements {
    /// Reads a start tag.
    pub(in crate::parsers) fn start(&mut self, name: &[u8], is_empty: bool) -> TagKind {
        if self.is_in_foreign_content() && ENDS_FOREIGN_CONTENT.split(' ').any(|html| html.as_bytes() == name) {
            self.end_foreign_content();
        }
        let parent = self.open.last().map(|(element, _)| *element);
        match Element::of(name).filter(|element| element.is_in(parent)) {
            Some(element) => {
                if !is_empty {
                    let visibility = self.open.last().map_or(Visibility::Text, |(_, visibility)| *visibility);
                    self.open.push((element, element.visibility(visibility)));
                    self.counts[element as usize] += 1;
                }
                if element == Element::SvgText { TagKind::SvgText } else { TagKind::Other }
            }
            None if self.is_in_foreign_content() => TagKind::Other,
            None => TagKind::Html,
        }
    }

    /// Reads an end tag. It ends the elements within its own too.
    pub(in crate::parsers) fn end(&mut self, name: &[u8]) -> TagKind {
        if matches!(name, b"p" | b"br") {
            self.end_foreign_content();
        }
        match Element::of(name).filter(|element| self.counts[*element as usize] > 0) {
            Some(element) => {
                while self.pop().is_some_and(|popped| popped != element) {}
                if element == Element::SvgText { TagKind::SvgText } else { TagKind::Other }
            }
            None if self.is_in_foreign_content() => TagKind::Other,
            None => TagKind::Html,
        }
    }

    fn pop(&mut self) -> Option<Element> {
        let (element, _) = self.open.pop()?;
        self.counts[element as usize] -= 1;
        Some(element)
    }

    fn end_foreign_content(&mut self) {
        while self.is_in_foreign_content() {
            self.pop();
        }
    }

    pub(in crate::parsers) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether tags are those of SVG or MathML.
    pub(in crate::parsers) fn is_in_foreign_content(&self) -> bool {
        self.open.last().is_some_and(|(element, _)| element.is_foreign())
    }

    /// Whether a browser shows text here.
    pub(in crate::parsers) fn shows_text(&self) -> bool {
        self.open.last().is_none_or(|(_, visibility)| *visibility == Visibility::Text)
    }

    /// The outermost element on account of which no text is shown here.
    pub(in crate::parsers) fn hiding(&self) -> Option<&'static str> {
        let (element, _) = self.open.iter().find(|(_, visibility)| *visibility != Visibility::Text)?;
        Some(match element {
            Element::Template => "template",
            Element::Annotation | Element::AnnotationXml => "annotation",
            _ => "svg",
        })
    }
}
