# ruff: noqa: RUF001 -- other scripts have commas and letters that look like ours
"""What the engines are made to say: everyday sentences, written for this package.

Two of them are drawn for a recording, so that few recordings of a drill say the same.
"""

from __future__ import annotations

import numpy as np

SENTENCES: dict[str, tuple[str, ...]] = {
    "en": (
        "The last bus had left, so we walked home along the canal.",
        "Could you send me the papers before you go on holiday?",
        "My sister keeps bees on the roof, and the neighbours love the honey.",
        "Please call me back, it is about the money for the flat.",
        "The doctor said that I should drink more water and sleep longer.",
        "We lost the match, but nobody was really sad about it.",
        "I left the keys under the blue pot beside the door.",
        "It snowed all night, and in the morning the street was silent.",
    ),
    "zh": (
        "昨天下班太晚，我们只好走路回家。",
        "麻烦你把文件在中午之前发给我，好吗？",
        "妈妈在阳台上种了很多番茄，邻居们都很喜欢。",
        "请给我回个电话，我想问一下房租的事情。",
        "医生说我要多喝水，晚上早一点睡觉。",
        "今天的菜有点咸，不过鱼做得很好吃。",
        "钥匙放在门口蓝色花盆的下面。",
        "夜里下了一场大雪，早上街上安静极了。",
    ),
    "de": (
        "Der letzte Zug war weg, also sind wir zu Fuß nach Hause gegangen.",
        "Kannst du mir die Unterlagen noch vor dem Urlaub schicken?",
        "Meine Schwester hat Bienen auf dem Dach, und der Honig schmeckt gut.",
        "Bitte ruf mich zurück, es geht um die Miete.",
        "Der Arzt meint, ich solle mehr trinken und länger schlafen.",
        "Der Schlüssel liegt unter dem blauen Topf neben der Tür.",
    ),
    "fr": (
        "Le dernier bus était parti, alors nous sommes rentrés à pied.",
        "Peux-tu m'envoyer les papiers avant de partir en vacances ?",
        "Ma sœur élève des abeilles sur le toit, et le miel est très bon.",
        "Rappelle-moi, s'il te plaît, c'est au sujet du loyer.",
        "Le médecin dit que je dois boire plus d'eau et dormir plus longtemps.",
        "La clé est sous le pot bleu, à côté de la porte.",
    ),
    "es": (
        "El último autobús ya había salido, así que volvimos a pie.",
        "¿Puedes mandarme los papeles antes de irte de vacaciones?",
        "Mi hermana tiene abejas en el tejado, y la miel está muy rica.",
        "Llámame, por favor, es por el dinero del piso.",
        "El médico dice que tengo que beber más agua y dormir más.",
        "La llave está debajo de la maceta azul, junto a la puerta.",
    ),
    "it": (
        "L'ultimo autobus era partito, così siamo tornati a casa a piedi.",
        "Puoi mandarmi i documenti prima di andare in vacanza?",
        "Mia sorella tiene le api sul tetto, e il miele è molto buono.",
        "Richiamami, per favore, è per i soldi dell'affitto.",
        "Il medico dice che devo bere più acqua e dormire di più.",
        "La chiave è sotto il vaso blu, accanto alla porta.",
    ),
    "pt": (
        "O último ônibus já tinha saído, então voltamos para casa a pé.",
        "Você pode me mandar os papéis antes de sair de férias?",
        "Minha irmã cria abelhas no telhado, e o mel é muito bom.",
        "Me ligue de volta, por favor, é sobre o aluguel.",
        "O médico disse que eu preciso beber mais água e dormir mais.",
        "A chave está debaixo do vaso azul, ao lado da porta.",
    ),
    "ru": (
        "Последний автобус ушёл, и мы пошли домой пешком.",
        "Пришли мне, пожалуйста, бумаги до отпуска.",
        "Моя сестра держит пчёл на крыше, и мёд очень вкусный.",
        "Перезвони мне, это насчёт денег за квартиру.",
        "Врач говорит, что мне надо больше пить и дольше спать.",
        "Ключ лежит под синим горшком рядом с дверью.",
    ),
}
"""By language (ISO 639-1)."""


def text_in(language: str, rng: np.random.Generator) -> str:
    """Draw two sentences of a language."""
    return " ".join(rng.choice(SENTENCES[language], 2, replace=False))
