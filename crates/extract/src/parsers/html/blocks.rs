//! Elements that start and end a line.

const BLOCKS: &str = "\
    address article aside blockquote body caption dd details dialog div dl dt fieldset figcaption figure footer form \
    h1 h2 h3 h4 h5 h6 header hr html legend li main menu nav ol option p pre section summary table tbody tfoot thead \
    tr ul";

/// Whether an element starts and ends a line.
pub(super) fn is_block(name: &str) -> bool {
    BLOCKS.split(' ').any(|block| block == name)
}
