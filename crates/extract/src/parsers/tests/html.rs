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
        ("<svg/>one<svg><p>two</p></svg>three<object data=x/>four", "onethreefour"),
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
        ("<svg><style> </style><text>no</text></svg>yes", None, "yes"),
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
