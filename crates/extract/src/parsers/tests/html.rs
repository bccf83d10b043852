//! The text of HTML pages.

use super::*;

#[test]
fn deeply_nested_and_hostile_html_is_read() {
    let deep = format!("<title>deep</title>{}سلام دنیا{}", "<div>".repeat(1_000_000), "</div>".repeat(1_000_000));
    let extraction = parse(deep.as_bytes(), "text/html").unwrap();
    assert_eq!((extraction.title.as_deref(), extraction.text.as_deref()), (Some("deep"), Some("سلام دنیا")));
    for hostile in ["<", "<a href=\"", "<script>", "<!--", "</", "&#", "<a b='", "<script></script", "<é>"] {
        parse(hostile.repeat(100_000).as_bytes(), "text/html").unwrap();
    }
}

#[test]
fn html_text_is_what_a_reader_sees() {
    let page = "<!doctype html><html lang='fa-IR'><head><title> برگهٔ\n یکم </title><style>p{color:red}</style>\
        <script>if (a<b) document.write('<p>no')</script></head><body><!-- no --><h1>سر&zwnj;خط</h1><p>a&amp;b &lt;c&gt;\
        <b>bold</b>er<br>next<ul><li>one<li>two</ul><table><tr><td>1<td>2</table><img alt='picture'> 3 < 4</body></html>";
    let extraction = parse(page.as_bytes(), "text/html").unwrap();
    assert_eq!(extraction.title.as_deref(), Some("برگهٔ یکم"));
    let text = extraction.text.unwrap();
    assert_eq!(text, "سر\u{200C}خط\n\na&b <c>bolder\nnext\n\none\ntwo\n\n1 2\n\npicture 3 < 4");
}

/// WHATWG HTML, 13.2.5.43 to 13.2.5.51.
#[test]
fn html_comments_end_where_whatwg_says() {
    for (page, text) in [
        ("one<!-->two", "onetwo"),
        ("one<!--->two", "onetwo"),
        ("one<!----!>two", "onetwo"),
        ("one<!-- two --!>three", "onethree"),
        ("one<!-- two -->three", "onethree"),
        ("one<!-- > -- two -->three", "onethree"),
        ("one<!-- two", "one"),
    ] {
        assert_eq!(text_of(page.as_bytes(), "text/html"), text, "{page}");
    }
}

#[test]
fn malformed_html_loses_no_text() {
    for (page, text) in [
        ("<p title=\"x>one</p><p>two", "one\n\ntwo"),
        ("<p title='x>one<p id=\"y>two", "one\n\ntwo"),
        ("one</p title='x>two", "one\n\ntwo"),
        ("<p title='a>b'>one", "one"),
        ("one<img alt='two", "one two"),
        ("one<br", "one"),
        ("one < two </> three <? four > five <! six > seven", "one < two three five seven"),
        ("<script src=\"x>one</script>two", "two"),
        ("<script>one</script class='x>two", "two"),
        ("<script>'<!-- <script>'</script>one", "one"),
        ("<svg/>one<svg><path>two</path></svg>three<object data=x/>four", "onethreefour"),
        ("<svg>one", ""),
        ("<title>one</title><title>two</title>three", "twothree"),
    ] {
        assert_eq!(text_of(page.as_bytes(), "text/html"), text, "{page}");
    }
}

/// WHATWG HTML, 13.2.5 and 13.2.6.4: how the content of elements is tokenized.
#[test]
fn content_that_is_no_markup_is_read_as_whatwg_says() {
    for (page, title, text) in [
        ("<title>a <b> &amp; <!-- c --></title>d", Some("a <b> & <!-- c -->"), "d"),
        ("<svg><title>no</title></svg><title>yes</title>a", Some("yes"), "a"),
        ("<svg><svg></svg>no</svg>yes", None, "yes"),
        ("<svg><!-- </svg> -->no</svg>yes", None, "yes"),
        ("<svg><![CDATA[ > </svg> ]]>no</svg>yes", None, "yes"),
        ("<svg><style> </style><path>no</path></svg>yes", None, "yes"),
        ("<svg><script>a</svg>yes", None, "yes"),
        ("<template><template></template>no</template>yes", None, "yes"),
        ("<template><script>'</template>'</script>no</template>yes", None, "yes"),
        ("<textarea><b>a</b> &lt;</textarea>c", None, "<b>a</b> <c"),
        ("<script><!-- <script> </script> no --></script>yes", None, "yes"),
        ("<script><!-- </script>yes", None, "yes"),
        ("<script>var a = '<\\/script>';</script>yes", None, "yes"),
        ("<style><!-- </style>yes", None, "yes"),
        ("<style>a</style >yes", None, "yes"),
        ("<noscript><!-- </noscript>yes", None, "yes"),
        ("<xmp><b>a</b></xmp>c", None, "<b>a</b>c"),
        ("a<plaintext><b>c</b>", None, "a<b>c</b>"),
        ("<title>one<p>two", None, "one\n\ntwo"),
        ("<textarea>one<p>two", None, "one\n\ntwo"),
        ("<title/>one", None, "one"),
        ("<p>a<![CDATA[b]]>c", None, "ac"),
        ("a<?php echo 1 > 2 ?>b", None, "a 2 ?>b"),
    ] {
        let read = parse(page.as_bytes(), "text/html").unwrap();
        assert_eq!((read.title.as_deref(), read.text.as_deref()), (title, Some(text)), "{page}");
    }
    for hostile in
        ["<script><!--<script>", "<title>", "<textarea>", "<svg><![CDATA[", "<svg>", "<template>", "<svg><![CDATA[]]>"]
    {
        parse(hostile.repeat(100_000).as_bytes(), "text/html").unwrap();
        parse(format!("{}</script>", hostile.repeat(100_000)).as_bytes(), "text/html").unwrap();
    }
}

/// WHATWG HTML, 13.2.6.5: what ends SVG and MathML; SVG 2, 5.8 and 12: what is drawn of it.
#[test]
fn what_a_browser_shows_of_foreign_and_nested_elements_is_read() {
    for (page, text) in [
        ("<svg><path d=x><p>one<p>two", "one\n\ntwo"),
        ("<svg><svg><g>no<div>one</div>two", "one\ntwo"),
        ("<svg>no</p>one", "one"),
        ("<svg><title>no<text>no</svg>one", "one"),
        ("<svg><text>one</text><g><text x=1>two<tspan> three</tspan></text></g>no</svg>four", "one\ntwo three\nfour"),
        ("<svg><text><![CDATA[one > ]]>two</text></svg>", "one > two"),
        ("<svg><foreignObject><p>one</p><svg>no</svg>two</foreignObject>no</svg>three", "one\n\ntwothree"),
        ("<svg><desc><p>no</p><text>no</text></desc><text>one</text></svg>two", "one\ntwo"),
        ("<svg><metadata>no</metadata><style>no</style><script>no</script></svg>one", "one"),
        ("<math><mi>x</mi><annotation>no</annotation></math>one", "xone"),
        ("<math><semantics><mi>x<annotation-xml>no</semantics></math>one", "xone"),
        ("<math><title>x<p>one", "x\n\none"),
        ("<object><object>one</object>two<p>three", "onetwo\n\nthree"),
        ("<object data=x><param name=a>one</object>two", "onetwo"),
        ("<template><svg><script>no</template>one", "one"),
        ("<template><svg><title>no</svg></template>one", "one"),
        ("<template><p>no<template>no</template>no</template>one</template>two", "onetwo"),
        ("<svg><template>no</template></svg>one", "one"),
        ("<svg><foreignObject><template>no</template>one</foreignObject></svg>two", "onetwo"),
        ("<noscript><p>no</noscript>one<iframe>no</iframe>two", "onetwo"),
        ("<svg><image/><img alt=one>two", "one two"),
    ] {
        let read = parse(page.as_bytes(), "text/html").unwrap();
        assert_eq!((read.text.as_deref(), &read.notes[..]), (Some(text), &[][..]), "{page}");
    }
}

#[test]
fn what_a_page_hides_is_not_read() {
    for (page, text) in [
        ("<p>one</p><p hidden>no</p><p style='display:none'>no</p>two", "one\n\ntwo"),
        ("<div style='visibility: hidden'><p style='visibility: visible'>shown</p></div>", "shown"),
        ("a<datalist><option>no<option>no</datalist>b", "ab"),
        ("a<video src=x>no</video><audio>no</audio><canvas><p>no</p></canvas>b", "ab"),
        ("<dialog>no</dialog><dialog open>one</dialog>two", "one\ntwo"),
        ("<ruby>字<rp>(</rp><rt>ji</rt><rp>)</rp></ruby>", "字ji"),
        ("<div hidden><div>no</div>no<svg><text>no</text></svg></div>one", "one"),
        ("<div hidden>no<p>no<br>no<img alt=no></div>one", "one"),
        ("<div hidden><template></div></template>no</div>one", "one"),
        ("<div hidden><script>'</div>'</script>no</div>one", "one"),
        ("one<img hidden alt=no>two<input hidden>three", "onetwothree"),
        ("<div hidden=until-found>one</div><div hidden=''>no</div>", "one"),
        ("<body hidden><p>one", "one"),
        // Elements without an end tag.
        ("<p hidden>no<p>one", "one"),
        ("<p hidden>no<b>no<div>one</div>", "one"),
        ("<p hidden>no<select><option>no</select>no<p>one", "one"),
        ("<ul><li hidden>no<ul><li>no</ul>no<li>one</ul>", "one"),
        ("<ul><li hidden>no</ul>one", "one"),
        ("<table><tr><td hidden>no<td>one<tr hidden><td>no<tr><td>two</table>three", "one\ntwo\n\nthree"),
        ("<dl><dt>one<dd hidden>no<dt>two</dl>", "one\ntwo"),
        ("<select><option hidden>no<option>one</select>", "one"),
        ("<div><span hidden>no</div>one", "one"),
        ("<b><div hidden>no</b>no</div>one", "one"),
    ] {
        let read = parse(page.as_bytes(), "text/html").unwrap();
        assert_eq!((read.text.as_deref(), &read.notes[..]), (Some(text), &[][..]), "{page}");
    }
    for hidden in ["<p hidden>", "<div hidden>", "<video>", "<ul><li hidden>", "<div hidden></b>", "<a hidden><table>"]
    {
        parse(hidden.repeat(100_000).as_bytes(), "text/html").unwrap();
    }
}

#[test]
fn line_breaks_of_preformatted_text_are_kept() {
    for (page, text) in [
        ("<pre>\none\n  two\n\nthree</pre>four\nfive", "one\n  two\n\nthree\nfour five"),
        ("<pre>one\r\ntwo</pre>", "one\ntwo"),
        ("<pre>one\n<b>two\nthree</b></pre>", "one\ntwo\nthree"),
        ("<textarea>\none\ntwo</textarea> three", "one\ntwo three"),
        ("<pre/>one\ntwo", "one two"),
        ("<p>one\n<pre hidden>no</pre>two\nthree", "one two three"),
    ] {
        assert_eq!(text_of(page.as_bytes(), "text/html"), text, "{page}");
    }
}

#[test]
fn what_is_not_shown_behind_a_start_without_an_end_is_noted() {
    for (page, start, chars) in [
        ("one<template><p>two three</p>", "a <template>", 8),
        ("one<template><template></template>two", "a <template>", 3),
        ("one<svg><a>two</a><section>three", "a <svg>", 8),
        ("one<svg><title>two", "a <svg>", 3),
        ("one<svg><![CDATA[two", "a <svg>", 3),
        ("one<math><annotation>two", "a <annotation>", 3),
        ("one<script>two </scrip>", "a <script>", 11),
        ("one<script><!-- <script> two", "a <script>", 15),
        ("one<style>two <p>three", "a <style>", 11),
        ("one<noscript>two", "a <noscript>", 3),
        ("one<iframe>two", "a <iframe>", 3),
        ("one<noembed>two", "a <noembed>", 3),
        ("one<noframes>two", "a <noframes>", 3),
        ("one<template><style>two", "a <template>", 3),
        ("one<div hidden>two<p>three", "a <div>", 8),
        ("one<video>two", "a <video>", 3),
        ("one<!-- two <p> three", "a comment", 11),
        ("one<!-- two <p>", "a comment", 6),
        ("one<!two", "a comment", 3),
    ] {
        let read = parse(page.as_bytes(), "text/html").unwrap();
        assert_eq!(read.text.as_deref(), Some("one"), "{page}");
        let note =
            format!("{start} has no end: the {chars} characters behind its start are not shown and were not read");
        assert_eq!(read.notes, [note], "{page}");
    }
    for page in
        ["one<template>", "one<svg> ", "one<!--", "one<script>\n", "one<template>two</template>", "one<!-- > -->"]
    {
        assert!(parse(page.as_bytes(), "text/html").unwrap().notes.is_empty(), "{page}");
    }
    let nothing = parse(b"<template>one", "text/html").unwrap();
    assert_eq!(nothing.notes[0], "no text in it");
    let limits = Limits { max_text_bytes: 100, ..Limits::default() };
    let cut = format!("one<style>{}</style>", "x".repeat(10_000));
    let (cut, _) = extract(file(cut.as_bytes()), "text/html", &limits).unwrap();
    assert!(cut.truncated && cut.notes.is_empty(), "the end may be in what was cut: {cut:?}");
}

#[test]
fn many_open_elements_cost_no_search_each() {
    for hostile in ["<math>x</template>", "<svg><text>x</math>", "<template>x</svg>", "<svg><foreignObject>x</math>"] {
        parse(hostile.repeat(200_000).as_bytes(), "text/html").unwrap();
    }
}
