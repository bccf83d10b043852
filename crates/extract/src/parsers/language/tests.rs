use super::*;

const PERSIAN: &[&str] = &[
    "صورتحساب فروش کالا و خدمات",
    "گواهینامه پایان دوره آموزشی",
    "پیشنهاد قیمت پروژه ساختمانی",
    "دستور پخت قورمه سبزی خانگی",
    "بانک ملی ایران شعبه مرکزی تهران",
    "برنامه هفتگی کلاس‌های دانشگاه",
    "فهرست کتاب‌های خطی کتابخانه",
    "قرارداد اجاره آپارتمان مسکونی",
    "گزارش سالانه هیئت مدیره",
    "عکس‌های سفر به اصفهان و شیراز",
    "نامه به مدیر عامل شرکت",
    "راهنمای نصب و راه اندازی",
    "اعلامیه حقوق بشر سازمان ملل متحد",
    "غزل شماره یک حافظ شیرازی",
    "هوای امروز تهران آفتابی است",
    "مدارک لازم برای ثبت نام",
    "رسید پرداخت اینترنتی قبض آب",
    "مصاحبه با استاد موسیقی سنتی",
    "تاریخ معاصر ایران جلد دوم",
    "دعوتنامه مراسم عروسی",
    "اين كتاب درباره تاريخ و فرهنگ است",
    "سلام، حال شما چطور است؟",
    "مقدمه مترجم بر كتاب پنجم",
    "نقشه گردشگری استان گیلان",
    "آموزش زبان عربی برای نوجوانان",
];

const ARABIC: &[&str] = &[
    "فاتورة بيع السلع والخدمات",
    "شهادة إتمام الدورة التدريبية",
    "عرض أسعار مشروع البناء",
    "طريقة تحضير الكبسة في المنزل",
    "البنك المركزي فرع العاصمة",
    "جدول المحاضرات الأسبوعي للجامعة",
    "قائمة المخطوطات في المكتبة الوطنية",
    "عقد إيجار شقة سكنية",
    "التقرير السنوي لمجلس الإدارة",
    "صور الرحلة إلى دمشق وبيروت",
    "رسالة إلى مدير الشركة",
    "دليل التركيب والتشغيل",
    "الإعلان العالمي لحقوق الإنسان",
    "قصيدة للشاعر أحمد شوقي",
    "الطقس اليوم مشمس في القاهرة",
    "الوثائق المطلوبة للتسجيل",
    "إيصال دفع فاتورة المياه",
    "مقابلة مع أستاذ الموسيقى",
    "تاريخ العرب الحديث الجزء الثاني",
    "دعوة لحضور حفل الزفاف",
    "كيف حالك يا صديقي العزيز",
    "مرحبا بالعالم وأهلا وسهلا",
    "خريطة سياحية لمدينة مراكش",
    "تعليم اللغة الفارسية للمبتدئين",
];

const ENGLISH: &[&str] = &[
    "Invoice for goods and services",
    "Certificate of completion",
    "Quotation for the construction project",
    "How to cook a chicken curry at home",
    "Central bank of the capital city",
    "Weekly schedule of university lectures",
    "List of manuscripts in the national library",
    "Lease agreement for a flat",
    "Annual report of the board",
    "Photographs of our trip to Isfahan",
    "Letter to the managing director",
    "Installation and operating manual",
    "Universal Declaration of Human Rights",
    "The weather in London is sunny today",
    "Documents required for registration",
    "Receipt for your water bill payment",
    "Interview with a music teacher",
    "A modern history of Iran, volume two",
    "You are invited to our wedding",
    "Meeting notes from last Monday",
    "Please find the file attached",
    "Backup strategy and disaster recovery",
    "Tourist map of the old town",
    "This book is about the history of a country",
    "Terms and conditions of use",
    "What is new in this version",
];

const URDU: &[&str] = &[
    "یہ کتاب تاریخ کے بارے میں ہے",
    "آپ کا بہت بہت شکریہ",
    "پاکستان کا قومی ترانہ",
    "سالانہ رپورٹ برائے مالی سال",
    "ہم سب لوگ گھر جا رہے ہیں",
    "بجلی کے بل کی ادائیگی کی رسید",
    "لاہور کا موسم آج اچھا ہے",
    "شادی کی تقریب کا دعوت نامہ",
    "لڑکے اور لڑکیاں کھیل رہے ہیں",
    "اردو زبان سیکھنے کا آسان طریقہ",
];

const PASHTO: &[&str] = &[
    "د افغانستان د تاریخ کتاب",
    "زه د کابل په ښار کې اوسېږم",
    "ستاسو څخه ډېره مننه کوم",
    "د پوهنتون د زده کړو مهالوېش",
    "د اوبو د بل د ورکړې رسید",
    "موږ ټول کور ته روان یو",
    "نن ورځ هوا ښه ده",
    "د واده بلنلیک او پروګرام",
    "پښتو ژبه څنګه زده کړو",
    "د بشر د حقونو نړیواله اعلامیه",
];

const SORANI: &[&str] = &[
    "ئەم کتێبە دەربارەی مێژووی کوردستانە",
    "زۆر سوپاس بۆ هەمووتان",
    "ڕاپۆرتی ساڵانەی کۆمپانیا",
    "من لە شاری سلێمانی دەژیم",
    "خشتەی وانەکانی زانکۆ",
    "پسوولەی پارەدانی ئاو",
    "کەشوهەوای ئەمڕۆ خۆشە",
    "بانگهێشتنامەی ئاهەنگی هاوسەرگیری",
    "جاڕنامەی گەردوونی مافی مرۆڤ",
    "فێربوونی زمانی کوردی",
];

/// Texts in other languages in Latin script.
const OTHER_LATIN: &[(&str, &str)] = &[
    ("fr", "Le rapport annuel du conseil d'administration de la société"),
    ("de", "Der Jahresbericht des Vorstands für das vergangene Jahr"),
    ("es", "El informe anual del consejo de administración de la empresa"),
    ("it", "La relazione annuale del consiglio di amministrazione della società"),
    ("nl", "Het jaarverslag van de raad van bestuur in de stad"),
    ("pt", "O relatório anual do conselho de administração da empresa"),
    ("tr", "Yönetim kurulunun yıllık faaliyet raporu ve mali tablolar"),
    ("sv", "Styrelsens årsredovisning för det senaste året i staden"),
    ("pl", "Roczne sprawozdanie zarządu spółki za ubiegły rok"),
    ("id", "Laporan tahunan dewan direksi perusahaan di kota"),
    ("da", "Bestyrelsens årsrapport for det seneste år i byen"),
    ("la", "Lorem ipsum dolor sit amet consectetur adipiscing"),
];

fn language(text: &str) -> Option<String> {
    detect(text).into_iter().next().map(|language| language.code)
}

/// How many texts are detected rightly, and wrongly; of the others, no language is stated.
fn score(code: &str, texts: &[&str]) -> (usize, usize) {
    let found: Vec<Option<String>> = texts.iter().map(|text| language(text)).collect();
    for (text, found) in texts.iter().zip(&found).filter(|(_, found)| found.as_deref() != Some(code)) {
        println!("{code}: {found:?}: {text}");
    }
    let right = found.iter().filter(|found| found.as_deref() == Some(code)).count();
    (right, found.iter().filter(|found| found.as_deref().is_some_and(|found| found != code)).count())
}

#[test]
fn short_persian_is_persian() {
    assert_eq!(score("fa", PERSIAN), (PERSIAN.len(), 0));
}

#[test]
fn short_texts_of_other_languages_are_not_persian() {
    assert_eq!(score("ar", ARABIC), (ARABIC.len(), 0));
    assert_eq!(score("ur", URDU), (URDU.len(), 0));
    assert_eq!(score("ps", PASHTO), (PASHTO.len(), 0));
    assert_eq!(score("ckb", SORANI), (SORANI.len(), 0));
}

#[test]
fn short_english_is_english_or_uncertain() {
    let (right, wrong) = score("en", ENGLISH);
    assert!(right >= ENGLISH.len() - 2 && wrong == 0, "{right} right, {wrong} wrong of {}", ENGLISH.len());
    for (code, text) in OTHER_LATIN.iter().copied() {
        assert_ne!(language(text).as_deref(), Some("en"), "{code}: {text}");
    }
}

#[test]
fn nothing_is_stated_without_evidence() {
    for text in ["12 34 56", "ABC-1234-XYZ-99", "www.example.org/a/b", "قمر شمس دار باب", "xqzvk bnmpl trwqs kkkkl"]
    {
        assert!(detect(text).is_empty(), "{text}: {:?}", detect(text));
    }
}

#[test]
fn words_that_english_shares_do_not_make_a_text_english() {
    for text in [
        "Was will er in Berlin?",
        "Was will man in Wien an Kultur? Was war, was ist, was will die Stadt in Zukunft an Geld geben",
        "Vamos a la playa a ver a mi madre y a mi padre, que van a comer a casa a las dos",
        "Dit was de winkel in de stad, en er was ook een man in het huis",
        "On a tout ce qu'on a voulu",
        "A casa da avó: a porta e a janela",
        "Han har det for godt i en by",
        "salam in ketab be farsi ast",
    ] {
        assert_ne!(language(text).as_deref(), Some("en"), "{text}");
    }
}

#[test]
fn urdu_and_pashto_without_letters_of_their_own_are_not_persian() {
    for text in [
        "پاکستان کا دستور اور قانون",
        "اردو زبان کا دستور اور قانون پاکستان کی تاریخ",
        "د افغانستان اسلامي جمهوریت",
        "د کابل پوهنتون رئیس",
        "دا زما کور دی او هلته ستا کتاب دی",
    ] {
        assert_ne!(language(text).as_deref(), Some("fa"), "{text}");
    }
}

#[test]
fn languages_of_a_mixed_document_are_detected() {
    let persian = "این کتاب دربارهٔ تاریخ و فرهنگ ایران است و برای کسانی نوشته شده که می‌خواهند با آن آشنا شوند. ";
    let arabic = "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق وقد وهبوا عقلا وضميرا وعليهم أن يعامل بعضهم بعضا. ";
    let english =
        "This book is about the history and the culture of a country, and was written for those who want to know. ";
    let codes = |text: &str| detect(text).into_iter().map(|language| language.code).collect::<Vec<_>>();
    assert_eq!(codes(persian), ["fa"]);
    assert_eq!(codes(&persian.replace('ی', "ي").replace('ک', "ك")), ["fa"], "written with Arabic letters");
    assert_eq!(codes(arabic), ["ar"]);
    assert_eq!(codes(english), ["en"]);
    assert_eq!(codes(&format!("{}{english}", persian.repeat(3))), ["fa", "en"]);
    assert!(codes("12 34").is_empty());
}

/// Arabic that has names with letters of Persian.
const ARABIC_WITH_NAMES: &[&str] = &[
    "گوگل تطلق خدمة جديدة للترجمة",
    "رئيس چاد يزور القاهرة اليوم",
    "انتخابات رئاسية في چاد",
    "شركة گوگل تعلن عن نتائجها",
    "دولة چاد في وسط افريقيا",
    "مباراة پاريس سان جيرمان وچيلسي",
    "كأس العالم في چيلي والأرجنتين",
    "افتتاح مطعم پيتزا هت في المدينة",
    "وصل الرئيس الفرنسي إلى نجامينا عاصمة چاد في زيارة رسمية تستمر يومين",
    "أعلنت شركة گوگل أمس عن إطلاق محرك بحث جديد، وقالت گوگل إن الخدمة ستكون متاحة في مصر والسعودية",
    "قال مدير پيجو في ألمانيا إن مصنع گوتنبرگ سيغلق أبوابه، وهو ما أكدته صحيفة دير شپيگل الألمانية",
    "رئیس الجمهوریة یلتقی وزیر الخارجیة فی بغداد ویبحث معه العلاقات الثنائیة بین البلدین",
];

/// Arabic with little but such a name: nothing is stated, or Arabic.
const LITTLE_ARABIC_WITH_NAMES: &[&str] =
    &["موقع گوگل ويوتيوب", "محرك بحث گوگل كروم", "جمهورية چاد", "محمد صالح گوگل احمد", "فريق تشلسي وپاريس يتعادلان"];

/// Persian that has much Arabic, or letters of other languages.
const PERSIAN_WITH_OTHERS: &[&str] = &[
    "دائرة المعارف بزرگ اسلامی",
    "شمس الدین محمد حافظ شیرازی",
    "نهج البلاغه با ترجمه فارسی",
    "آیة الله العظمی سید علی خامنه‌ای",
    "فارغ التحصیل دانشکده حقوق بین الملل",
    "سازمان تأمین اجتماعی و منشأ مشکلات آن",
    "علی الخصوص در مورد حق الزحمه کارمندان",
    "ھمه ما ھر روز به خانه ھای خود می رویم و در آن جا ھستیم",
    "ہمه افراد بشر آزاد به دنیا می آیند و از نظر حقوق با ہم برابرند، این اصل است",
    "کی بود؟ کی گفت؟ کو آن یار که دیروز این‌جا بود",
    "نے نواز در کنار رود نشسته بود و آواز می‌خواند",
    "ترانه ٹھمری از موسیقی هند است و در پاکستان هم شنیده می‌شود",
    "ولایت ننگرهار (ننګرهار) در شرق افغانستان است و مرکز آن جلال‌آباد است",
    "روستای دڵۆپ در استان کردستان است",
    "بحار الانوار جلد اول",
    "تاریخ الرسل و الملوک",
    "حجت الاسلام و المسلمین رفسنجانی",
    "خلاصه الاخبار امروز",
    "ھنر ھندی و ھمایش ملی",
];

/// Sorani in other spellings, or almost without letters of its own.
const SORANI_IN_OTHER_SPELLINGS: &[&str] = &[
    "ئه‌م کتێبه‌ ده‌رباره‌ی مێژووی کوردستانه‌",
    "ئه‌مه‌ ماڵی ئێمه‌یه‌ له‌ شاری هه‌ولێر",
    "ئازادی کوردستان و ئاشتی و دیموکراسی",
    "ئاوی کانی و ئاسمانی شین",
    "هه‌والی ئه‌مرو له کوردستان",
    "کوردی له کوردستان",
    "پارتی دیموکراتی کوردستان",
    "پرسیار و وه لام له سه ر ئایین",
    "شاعیری گه وره ی کورد",
];

/// Urdu with hardly a letter or word that Persian does not have.
const LITTLE_URDU: &[&str] =
    &["پاکستان زندہ باد", "قومی اسمبلی کا اجلاس", "وزیر اعظم پاکستان کا خطاب", "محکمہ تعلیم پنجاب", "قرآن مجید کی تلاوت"];

const LONG: &[(&str, &str)] = &[
    (
        "fa",
        "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند. همه دارای عقل و وجدان می‌باشند و باید \
         نسبت به یکدیگر با روح برادری رفتار کنند. هر کس می‌تواند بدون هیچ‌گونه تمایز از تمام حقوق بهره‌مند گردد.",
    ),
    (
        "ar",
        "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق، وقد وهبوا عقلا وضميرا وعليهم أن يعامل بعضهم بعضا بروح الإخاء. \
         لكل إنسان حق التمتع بكافة الحقوق والحريات الواردة في هذا الإعلان، دون أي تمييز.",
    ),
    (
        "ur",
        "تمام انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں۔ انہیں ضمیر اور عقل ودیعت ہوئی ہے۔ اس لیے انہیں ایک \
         دوسرے کے ساتھ بھائی چارے کا سلوک کرنا چاہیے۔ ہر شخص ان تمام آزادیوں اور حقوق کا مستحق ہے۔",
    ),
    (
        "ckb",
        "هەموو مرۆڤەکان بە ئازادی و یەکسان لە کەرامەت و مافدا لە دایک دەبن. خاوەنی ئەقڵ و ویژدانن و دەبێت لەگەڵ یەکتردا بە \
         گیانێکی برایانە ڕەفتار بکەن.",
    ),
];

#[test]
fn arabic_with_names_in_persian_letters_is_not_persian() {
    assert_eq!(score("ar", ARABIC_WITH_NAMES), (ARABIC_WITH_NAMES.len(), 0));
    assert_eq!(score("ar", LITTLE_ARABIC_WITH_NAMES).1, 0);
    let names = ["گوگل", "چاد", "پاریس", "چیلی"].join(" و");
    let long = format!("{} {names} {}", LONG[1].1, LONG[1].1);
    assert_eq!(language(&long).as_deref(), Some("ar"));
}

#[test]
fn persian_with_words_or_letters_of_others_is_persian_or_uncertain() {
    let (right, wrong) = score("fa", PERSIAN_WITH_OTHERS);
    assert!(wrong == 0 && right >= PERSIAN_WITH_OTHERS.len() / 2, "{right} right, {wrong} wrong");
}

#[test]
fn persian_with_arabic_letters_is_persian_or_uncertain() {
    let arabic_letters = |text: &&str| text.replace('ی', "ي").replace('ک', "ك");
    let texts: Vec<String> = PERSIAN.iter().map(arabic_letters).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (right, wrong) = score("fa", &texts);
    assert!(wrong == 0 && right >= PERSIAN.len() / 2, "{right} right, {wrong} wrong");
    let whole = texts.join(" ");
    assert_eq!(language(&whole).as_deref(), Some("fa"));
}

#[test]
fn texts_with_few_letters_of_their_own_are_not_persian() {
    assert_eq!(score("ckb", SORANI_IN_OTHER_SPELLINGS).1, 0);
    assert_eq!(score("ur", LITTLE_URDU).1, 0);
}

#[test]
fn long_texts_are_detected() {
    for (code, text) in LONG {
        assert_eq!(language(text).as_deref(), Some(*code), "{text}");
        // With a sentence of each of the others.
        for (other, cited) in [("fa", PERSIAN[0]), ("ar", ARABIC[0]), ("ur", URDU[0]), ("ckb", SORANI[0])] {
            assert_eq!(language(&format!("{text} {cited}")).as_deref(), Some(*code), "{code} with {other}");
        }
    }
}
