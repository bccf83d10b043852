//! The character sets that HTML pages declare.

use super::*;

/// The page in windows-1256; the rest is markup in ASCII.
fn arabic_page(head: &str) -> Vec<u8> {
    let (bytes, _, _) = encoding_rs::WINDOWS_1256.encode("گزارش سالانه ABC");
    [b"<!DOCTYPE html><html><head>", head.as_bytes(), b"<title>t</title></head><body><p>", &bytes, b"</p>"].concat()
}

#[test]
fn only_the_page_itself_declares_its_character_set() {
    const OWN: &str = r#"<meta http-equiv="Content-Type" content="text/html; charset=windows-1256">"#;
    for other in [
        "<!-- charset=gbk <meta charset=gbk> -->",
        "<!--><meta name=a content='charset=gbk'>",
        "<!-- > <meta charset=gbk> --!>",
        "<?php <meta charset=gbk ?>",
        "</ meta charset=gbk>",
        "<!meta charset=gbk>",
        "<![CDATA[<meta charset=gbk ]]>",
        "<meta name=description content='charset=gbk and others'>",
        "<meta name=description content='<meta charset=gbk>'>",
        "<meta property=og:x content='text/html; charset=gbk'>",
        "<meta http-equiv=refresh content='0; charset=gbk'>",
        "<meta charset=no-such-set>",
        "<meta http-equiv=content-type content='text/html; charset=no-such-set'>",
        "<meta content='text/html; charset=gbk'>",
        "<link rel=stylesheet href=a.css charset=gbk>",
        "<script src=a.js charset=gbk></script>",
        "<script>document.write('<meta charset=gbk>')</script>",
        "<script><!-- <script> </script> <meta charset=gbk> --></script>",
        "<style>/* <meta charset=gbk> */</style>",
        "<title><meta charset=gbk></title>",
        "<noscript><meta charset=gbk></noscript>",
        "<template><meta charset=gbk></template>",
        "<template><template></template><meta charset=gbk></template>",
        "<svg><style><foreignObject><meta charset=gbk></foreignObject></style></svg>",
        "<base data-x=\"<meta charset='gbk'>\">",
    ] {
        let page = arabic_page(&format!("{other}{OWN}"));
        assert!(text_of(&page, "text/html").contains("گزارش سالانه"), "{other}");
    }
}

#[test]
fn a_page_declares_its_character_set_in_many_forms() {
    let far = |bytes: usize| format!("<!-- {} -->", "x".repeat(bytes));
    for declared in [
        "<meta charset=windows-1256>",
        "<META CHARSET = 'Windows-1256' />",
        "<meta charset=\" cp1256 \">",
        "<meta charset=windows-1256 charset=gbk>",
        "<meta http-equiv=CONTENT-TYPE content=text/html;charset=windows-1256>",
        "<meta content='text/html; charset = \"windows-1256\"' http-equiv='Content-Type'>",
        "<meta http-equiv=content-type content='charset charset=windows-1256; x'>",
        "<!--><meta charset=windows-1256><!-- <meta charset=gbk> -->",
        "<!---><meta charset=windows-1256>",
        "<!-- --!><meta charset=windows-1256>",
        "<meta\ncharset=windows-1256\n>",
        "<svg><meta charset=windows-1256>",
        "<svg><style></svg><meta charset=windows-1256>",
        &format!("{}<meta charset=windows-1256>", far(900)),
        &format!("{}<meta charset=windows-1256>", far(5000)),
    ] {
        let read = parse(&arabic_page(declared), "text/html").unwrap();
        assert_eq!(read.charset.as_deref(), Some("windows-1256"), "{declared}");
        assert!(read.text.unwrap().contains("گزارش سالانه"), "{declared}");
    }
    let late =
        [arabic_page("<meta charset=windows-1256>"), far(2000).into_bytes(), b"<meta charset=gbk>".to_vec()].concat();
    assert!(text_of(&late, "text/html").contains("گزارش سالانه"));
    let undeclared = [&arabic_page("")[..], far(2000).as_bytes(), b"<meta charset=gbk>"].concat();
    assert_ne!(
        parse(&undeclared, "text/html").unwrap().charset.as_deref(),
        Some("gbk"),
        "beyond the first KiB of the body"
    );
}

#[test]
fn the_byte_order_mark_and_the_xml_declaration_count() {
    let page = "<meta charset=windows-1256><p>سلام دنیا";
    for (mark, bytes) in [
        (&b"\xEF\xBB\xBF"[..], page.as_bytes().to_vec()),
        (b"\xFF\xFE", page.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        (b"\xFE\xFF", page.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        (b"", page.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        (b"", page.encode_utf16().flat_map(u16::to_be_bytes).collect()),
    ] {
        assert_eq!(text_of(&[mark, &bytes].concat(), "text/html"), "سلام دنیا", "{mark:X?}");
    }
    let declaration = b"<?xml version='1.0' encoding=\"windows-1256\"?>";
    let xhtml = [&declaration[..], &arabic_page("")].concat();
    assert!(text_of(&xhtml, "application/xhtml+xml").contains("گزارش سالانه"));
    let strict = [&declaration[..], b"<html xmlns='http://www.w3.org/1999/xhtml'>", &arabic_page("<meta charset=gbk>")];
    assert!(text_of(&strict.concat(), "application/xhtml+xml").contains("گزارش سالانه"));
    let utf16 = arabic_page("<meta charset=utf-16>");
    assert_eq!(parse(&utf16, "text/html").unwrap().charset.as_deref(), Some("utf-8"));
}
