"""What any model of a language tells apart: queries, each with a text that answers it and one about something else."""

from __future__ import annotations

from collections.abc import Mapping

Pair = tuple[str, str, str]
"""A query, a text that answers it, and one about something else."""

ENGLISH = "en"

PAIRS: Mapping[str, tuple[Pair, ...]] = {
    ENGLISH: (
        (
            "What is the capital of France?",
            "Paris is the capital and largest city of France.",
            "The Amazon rainforest is home to many species of birds.",
        ),
        (
            "how to boil an egg",
            "Put the egg into boiling water for eight minutes, then cool it under cold water.",
            "The stock market fell by two percent on Tuesday.",
        ),
        (
            "symptoms of the flu",
            "Common flu symptoms are fever, cough, a sore throat and muscle aches.",
            "Install the package with pip and import it in your code.",
        ),
        (
            "when did the second world war end",
            "The Second World War ended in 1945.",
            "Whisk the butter and the sugar until the mixture is pale.",
        ),
        (
            "python read a file line by line",
            "In Python, open the file and loop over it to read it line by line.",
            "Penguins live almost only in the southern hemisphere.",
        ),
        (
            "who wrote Romeo and Juliet",
            "Romeo and Juliet is a tragedy written by William Shakespeare.",
            "A healthy lawn should be watered early in the morning.",
        ),
        (
            "how far is the moon from the earth",
            "The moon is on average 384,400 kilometres away from the earth.",
            "The restaurant serves lunch from noon until three o'clock.",
        ),
        (
            "reset my password",
            "To reset your password, click 'Forgot password' on the login page.",
            "The oldest tree in the park was planted in 1820.",
        ),
        (
            "what do pandas eat",
            "Giant pandas eat almost nothing but bamboo.",
            "The meeting about the budget was moved to Friday.",
        ),
        (
            "return policy for shoes",
            "Shoes can be returned within 30 days if they have not been worn.",
            "Light travels faster than sound.",
        ),
        (
            "chemical formula of water",
            "Water's chemical formula is H2O.",
            "He scored two goals in the second half of the match.",
        ),
        ("cheap flights to Rome", "Find low-cost flights to Rome from 29 euros.", "Photosynthesis needs light."),
    ),
    "de": (
        (
            "Was ist die Hauptstadt von Frankreich?",
            "Paris ist die Hauptstadt von Frankreich.",
            "Im Regenwald am Amazonas leben viele Vogelarten.",
        ),
        (
            "Wie kocht man ein Ei?",
            "Das Ei acht Minuten in kochendes Wasser legen und dann kalt abschrecken.",
            "Der Aktienmarkt fiel am Dienstag um zwei Prozent.",
        ),
        (
            "Symptome einer Grippe",
            "Typische Symptome der Grippe sind Fieber, Husten, Halsschmerzen und Gliederschmerzen.",
            "Das Paket wird installiert und dann im Code importiert.",
        ),
        (
            "Wann endete der Zweite Weltkrieg?",
            "Der Zweite Weltkrieg endete im Jahr 1945.",
            "Butter und Zucker werden schaumig gerührt.",
        ),
        (
            "Wer schrieb Romeo und Julia?",
            "Romeo und Julia ist eine Tragödie von William Shakespeare.",
            "Ein gesunder Rasen wird am frühen Morgen bewässert.",
        ),
        (
            "Wie weit ist der Mond von der Erde entfernt?",
            "Der Mond ist im Mittel 384.400 Kilometer von der Erde entfernt.",
            "Das Restaurant bietet von zwölf bis drei Uhr Mittagessen an.",
        ),
        (
            "Passwort zurücksetzen",
            "Um das Passwort zurückzusetzen, klicken Sie auf der Anmeldeseite auf 'Passwort vergessen'.",
            "Der älteste Baum im Park wurde 1820 gepflanzt.",
        ),
        (
            "Was fressen Pandas?",
            "Große Pandas fressen fast nur Bambus.",
            "Die Sitzung über den Haushalt wurde auf Freitag verschoben.",
        ),
        (
            "Schuhe zurückgeben",
            "Ungetragene Schuhe können innerhalb von 30 Tagen zurückgegeben werden.",
            "Licht ist schneller als Schall.",
        ),
        (
            "chemische Formel von Wasser",
            "Die chemische Formel von Wasser ist H2O.",
            "Er schoss in der zweiten Halbzeit zwei Tore.",
        ),
        (
            "günstige Flüge nach Rom",
            "Günstige Flüge nach Rom gibt es ab 29 Euro.",
            "Pflanzen brauchen Licht für die Photosynthese.",
        ),
        ("Wie viele Beine hat eine Spinne?", "Spinnen haben acht Beine.", "Der Zug nach Hamburg fährt um neun Uhr ab."),
    ),
    "fr": (
        (
            "Quelle est la capitale de la France ?",
            "Paris est la capitale de la France.",
            "De nombreuses espèces d'oiseaux vivent dans la forêt amazonienne.",
        ),
        (
            "comment faire cuire un œuf",
            "Plongez l'œuf huit minutes dans l'eau bouillante, puis passez-le sous l'eau froide.",
            "La bourse a perdu deux pour cent mardi.",
        ),
        (
            "symptômes de la grippe",
            "Les symptômes de la grippe sont la fièvre, la toux, le mal de gorge et les courbatures.",
            "Installez le paquet, puis importez-le dans votre code.",
        ),
        (
            "quand la Seconde Guerre mondiale a-t-elle pris fin",
            "La Seconde Guerre mondiale a pris fin en 1945.",
            "Battez le beurre et le sucre jusqu'à ce que le mélange blanchisse.",
        ),
        (
            "qui a écrit Roméo et Juliette",
            "Roméo et Juliette est une tragédie de William Shakespeare.",
            "Une pelouse s'arrose tôt le matin.",
        ),
        (
            "distance entre la Terre et la Lune",
            "La Lune se trouve en moyenne à 384 400 kilomètres de la Terre.",
            "Le restaurant sert le déjeuner de midi à trois heures.",
        ),
        (
            "réinitialiser mon mot de passe",
            "Pour réinitialiser votre mot de passe, cliquez sur « Mot de passe oublié ».",
            "Le plus vieil arbre du parc a été planté en 1820.",
        ),
        (
            "que mangent les pandas",
            "Les pandas géants mangent presque uniquement du bambou.",
            "La réunion sur le budget est reportée à vendredi.",
        ),
        (
            "retour de chaussures",
            "Les chaussures non portées peuvent être retournées sous 30 jours.",
            "La lumière va plus vite que le son.",
        ),
        (
            "formule chimique de l'eau",
            "La formule chimique de l'eau est H2O.",
            "Il a marqué deux buts en seconde mi-temps.",
        ),
        (
            "vols pas chers pour Rome",
            "Trouvez des vols pas chers pour Rome à partir de 29 euros.",
            "La photosynthèse a besoin de lumière.",
        ),
        ("combien de pattes a une araignée", "Une araignée a huit pattes.", "Le train pour Lyon part à neuf heures."),
    ),
    "es": (
        (
            "¿Cuál es la capital de Francia?",
            "París es la capital de Francia.",
            "En la selva amazónica viven muchas especies de aves.",
        ),
        (
            "cómo cocer un huevo",
            "Ponga el huevo ocho minutos en agua hirviendo y enfríelo después con agua fría.",
            "La bolsa cayó un dos por ciento el martes.",
        ),
        (
            "síntomas de la gripe",
            "Los síntomas de la gripe son fiebre, tos, dolor de garganta y dolores musculares.",
            "Instale el paquete e impórtelo en su código.",
        ),
        (
            "cuándo terminó la Segunda Guerra Mundial",
            "La Segunda Guerra Mundial terminó en 1945.",
            "Bata la mantequilla y el azúcar hasta que la mezcla quede blanca.",
        ),
        (
            "quién escribió Romeo y Julieta",
            "Romeo y Julieta es una tragedia de William Shakespeare.",
            "El césped se riega por la mañana temprano.",
        ),
        (
            "a qué distancia está la Luna de la Tierra",
            "La Luna está a una distancia media de 384.400 kilómetros de la Tierra.",
            "El restaurante sirve comidas de doce a tres.",
        ),
        (
            "restablecer mi contraseña",
            "Para restablecer la contraseña, pulse «¿Olvidó su contraseña?» en la página de acceso.",
            "El árbol más viejo del parque se plantó en 1820.",
        ),
        (
            "qué comen los pandas",
            "Los pandas gigantes comen casi únicamente bambú.",
            "La reunión sobre el presupuesto se aplazó al viernes.",
        ),
        (
            "devolución de zapatos",
            "Los zapatos sin usar se pueden devolver en un plazo de 30 días.",
            "La luz es más rápida que el sonido.",
        ),
        ("fórmula química del agua", "La fórmula química del agua es H2O.", "Marcó dos goles en la segunda parte."),
        (
            "vuelos baratos a Roma",
            "Encuentre vuelos baratos a Roma desde 29 euros.",
            "La fotosíntesis necesita luz.",
        ),
        ("cuántas patas tiene una araña", "Una araña tiene ocho patas.", "El tren a Sevilla sale a las nueve."),
    ),
    "zh": (
        ("法国的首都是哪里？", "巴黎是法国的首都。", "亚马孙雨林里生活着许多种鸟类。"),
        ("怎么煮鸡蛋", "把鸡蛋放进沸水里煮八分钟，然后用冷水冷却。", "股市周二下跌了百分之二。"),
        ("流感有什么症状", "流感的常见症状是发烧、咳嗽、喉咙痛和肌肉酸痛。", "安装软件包，然后在代码中导入。"),
        ("第二次世界大战什么时候结束", "第二次世界大战于1945年结束。", "把黄油和糖搅打到颜色变浅。"),
        ("罗密欧与朱丽叶是谁写的", "《罗密欧与朱丽叶》是威廉·莎士比亚写的悲剧。", "草坪最好在清晨浇水。"),
        ("月球离地球有多远", "月球与地球的平均距离是384400公里。", "餐厅中午十二点到三点供应午餐。"),
        ("重置我的密码", "要重置密码，请在登录页面点击“忘记密码”。", "公园里最老的树是1820年种的。"),
        ("熊猫吃什么", "大熊猫几乎只吃竹子。", "预算会议改到星期五了。"),
        ("鞋子怎么退货", "没有穿过的鞋子可以在30天内退货。", "光比声音传播得快。"),
        ("水的化学式", "水的化学式是H2O。", "他在下半场进了两个球。"),
        ("去罗马的便宜机票", "去罗马的便宜机票只要29欧元起。", "光合作用需要阳光。"),
        ("蜘蛛有几条腿", "蜘蛛有八条腿。", "去上海的火车九点开。"),
    ),
    "ja": (
        ("フランスの首都はどこですか", "パリはフランスの首都です。", "アマゾンの熱帯雨林には多くの種類の鳥がいます。"),
        ("卵のゆで方", "卵を沸騰したお湯で八分間ゆで、冷水で冷やします。", "火曜日に株価は二パーセント下がりました。"),
        (
            "インフルエンザの症状",
            "インフルエンザの主な症状は発熱、せき、のどの痛み、筋肉痛です。",
            "パッケージをインストールしてコードで読み込みます。",
        ),
        (
            "第二次世界大戦はいつ終わりましたか",
            "第二次世界大戦は1945年に終わりました。",
            "バターと砂糖を白くなるまで混ぜます。",
        ),
        (
            "ロミオとジュリエットの作者は誰ですか",
            "『ロミオとジュリエット』はウィリアム・シェイクスピアの悲劇です。",
            "芝生には早朝に水をやります。",
        ),
        ("地球から月までの距離", "月は地球から平均で384,400キロメートル離れています。", "昼食は正午から三時までです。"),
        (
            "パスワードをリセットする",
            "パスワードをリセットするには、ログイン画面で「パスワードを忘れた」を押してください。",
            "公園で一番古い木は1820年に植えられました。",
        ),
        (
            "パンダは何を食べますか",
            "ジャイアントパンダはほとんど竹だけを食べます。",
            "予算の会議は金曜日に変わりました。",
        ),
        ("靴の返品", "履いていない靴は30日以内に返品できます。", "光は音より速く進みます。"),
        ("水の化学式", "水の化学式はH2Oです。", "彼は後半に二点を決めました。"),
        ("ローマ行きの格安航空券", "ローマ行きの格安航空券は29ユーロからです。", "光合成には光が必要です。"),
        ("クモの足は何本ですか", "クモには足が八本あります。", "大阪行きの電車は九時に出ます。"),
    ),
}
"""A dozen of each language, by its ISO 639-1 code."""


def languages_to_check(codes: tuple[str, ...], *, many: bool) -> tuple[str, ...]:
    """The languages that a model is asked in, the main one first.

    Args:
        codes: what it was trained for; none where that is not known.
        many: whether it was trained for about all.

    English where nothing else is known, or there are no pairs in any of its languages.
    """
    asked = tuple(code for code in PAIRS if many or code in codes)
    return asked or (ENGLISH,)
