"""What the name of a folder says about the images in it, in the words that people and tools use.

Case, spaces, hyphens, underscores, dots, accents, digits and full-width letters do not matter:
``OK``, ``ok_2`` and ``i.O.`` are good, ``Not OK`` and ``n.i.O`` are defective.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Meaning:
    """What a name says.

    Args:
        good: True, False for defective, None where it does not say.
        split: train, val or test; None where it does not say.
        mask: whether masks or annotations lie there.
        plain: whether it says nothing else, such as ``images``.
        aside: whether nobody has decided yet, or it is given up, such as ``to_check``.
        key: what the name of a folder of images and that of its masks have in common.
    """

    good: bool | None = None
    split: Split | None = None
    mask: bool = False
    plain: bool = False
    aside: bool = False
    key: str = ""


_GOOD = """
    good goods ok okay oks normal normals pass passed passing perfect fine healthy intact accept
    accepted acceptable correct conforming conformant conformity flawless faultless nominal inlier
    inliers nondefective undamaged unbroken defectfree faultfree errorfree nodefect nodefects clean
    io inordnung gut gute guten gutteil gutteile gutbild gutbilder fehlerfrei einwandfrei
    bon bons bonne bonnes conforme conformes sain bueno buenos buena buenas correcto correctos
    aprobado aprobados buono buoni buona buone bom bons boa boas aprovado aprovados goed
    goedgekeurd dobry dobre dobra bra godkand iyi saglam hatasiz kusursuz tot bun buna
    aceptado aceptados hibatlan megfelelo hyva hyvat god gode godkendt godkjent goedkeur
    bagus baik καλο καλα جيد תקין ดี अच्छा
    годен годные годный норма нормальные хорошо хорошие
    良品 良 良好 好 好品 正常 正常品 合格 合格品 可 無欠陥 无缺陷 양품 정상 정상품 합격 합격품
    无瑕疵 无划痕 傷なし キズなし
"""
_BAD = """
    bad ng nok ko nogood notgood nogo abnormal abnormals abnormality anomaly anomalies
    anomalous fail failed failing fails
    failure failures reject rejects rejected defect defects defective defectives def defected fault
    faults faulty error errors erroneous wrong damage damaged damages broken outlier outliers
    unacceptable scrap nonconforming nonconformity unhealthy incorrect
    scratch scratches scratched crack cracks cracked dent dents dented hole holes stain stains
    stained contamination contaminated dirty chip chipped burr burrs rust rusty corrosion corroded
    misprint misaligned deformed deformation flaw flaws flawed blemish
    nio nichtinordnung schlecht schlechte schlechten schlechtteil schlechtteile schlechtbild
    schlechtbilder fehler fehlerhaft fehlerhafte defekt defekte ausschuss mangel mangelhaft kratzer
    riss risse mauvais mauvaise mauvaises defaut defauts defectueux defectueuse rebut rebuts
    malo malos mala malas defecto defectos defectuoso defectuosos rechazado rechazados incorrecto
    cattivo cattivi difetto difetti difettoso difettosi scarto scarti
    ruim ruins mau maus defeito defeitos defeituoso reprovado reprovados
    slecht fout fouten afgekeurd zly zle wada wady wadliwe wadliwy braki spatny spatne vadny vadne
    zmetek zmetky dalig underkand fel kotu hatali kusurlu xau loi rau defecte
    rossz selejt hibas huono huonot viallinen darlig darlige fejl feil afkeur cacat rusak
    κακο κακα سيء معيب פגום เสีย खराब
    брак дефект дефекты дефектные плохо плохие негодные негодный
    不良品 不良 不良好 不合格 不合格品 不可 異常 異常品 异常 异常品 欠陥 欠陥品 缺陷 缺陷品
    瑕疵 瑕疵品 次品 废品 廢品 坏 坏品 壞 傷 キズ きず 불량 불량품 비정상 이상 불합격 결함
    有瑕疵 有缺陷 划痕 划伤 裂纹 裂痕 脏污 破损 毛刺 异物 凹陷 気泡 气泡
    傷あり キズあり 汚れ 欠け 割れ バリ 異物 打痕 스크래치 크랙 찍힘 오염
"""
_NOT = "not non no un kein keine nicht ohne without sans sin senza sem pas без"
_SPLIT_WORDS: dict[Split, str] = {
    "train": "train training trainset trn learn learning entrainement apprentissage "
    "entrenamiento treino lernen обучение 训练 训练集 訓練 訓練集 学習 学習用 학습 학습용 훈련",
    "val": "val valid validation valset dev calib calibration holdout "
    "验证 验证集 驗證 検証 検証用 검증",
    "test": "test testing testset tests tst eval evaluation prueba pruebas teste testes тест "
    "测试 测试集 測試 測試集 テスト テスト用 評価 評価用 테스트 시험 평가",
}
_MASKS = """
    groundtruth groundtruths gt gts mask masks maske masken label labels annotation annotations
    annot annots seg segs segmentation segmentations bbox bboxes
"""
_ASIDE = """
    doubt doubtful unclear unsure uncertain questionable unknown unlabeled unlabelled unsorted
    unclassified unchecked undecided suspect suspects suspicious borderline maybe review recheck
    tocheck rework todo tosort pending discard discarded deleted removed ignore ignored exclude
    excluded overkill escape retest fraglich unklar unsicher verdacht nacharbeit geloscht
    heatmap heatmaps overlay overlays result results prediction predictions output outputs
    trash recyclebin deleteditems papierkorb corbeille papelera cestino lixeira prullenbak корзина
    douteux dudoso dubbio dubbi 回收站 ゴミ箱 휴지통 待定 待确认 未分类 未確認 要確認 保留 미확인
"""
_PLAIN = """
    image images imageset img imgs pic pics picture pictures photo photos foto fotos frame frames
    bild bilder rgb color colour gray grey raw data dataset png jpg jpeg bmp tif tiff originals
"""
_BESIDE = """
    sample samples part parts piece pieces pieza piezas pezzo pezzi peca pecas item items
    product products teil teile stuck case cases
    original full all new old front back top bottom left right side view cam camera class set
    kopie copy
"""
_CJK_PLAIN = """
    品 画像 図 图片 圖片 图像 图 样本 樣本 照片 写真 数据 データ 件 이미지 사진
"""


_STROKES = str.maketrans({"ł": "l", "ı": "i", "ø": "o", "đ": "d", "æ": "ae"})  # no accents


def _letters(text: str) -> str:
    """Without accents and case, in one form."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()
    return plain.translate(_STROKES)


def _without_cjk_plain(text: str) -> str:
    for word in map(_letters, _CJK_PLAIN.split()):
        text = text.replace(word, "") if text != word else text
    return text


def _bare(token: str) -> str:
    """``ok`` of ``okimages``."""
    token = _without_cjk_plain(token)
    for word in _BESIDE_WORDS:
        if token.endswith(word) and token.removesuffix(word) in _GOOD_WORDS | _BAD_WORDS:
            return token.removesuffix(word)
    return token


def _table(words: str) -> frozenset[str]:
    return frozenset(_without_cjk_plain(_letters(word)) for word in words.split())


_GOOD_WORDS, _BAD_WORDS, _NOT_WORDS = _table(_GOOD), _table(_BAD), _table(_NOT)
_MASK_WORDS, _PLAIN_WORDS, _ASIDE_WORDS = _table(_MASKS), _table(_PLAIN), _table(_ASIDE)
_SPLITS = {word: split for split, words in _SPLIT_WORDS.items() for word in _table(words)}
_BESIDE_WORDS = _table(_BESIDE) | _PLAIN_WORDS  # beside a word that says something
_BOUNDARY = re.compile(r"[\W_\d]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def _tokens(name: str) -> list[str]:
    name = unicodedata.normalize("NFKC", name)
    whole = _letters(name)  # "inOrdnung" has parts, "iO" is one word
    parts = [_letters(part) for part in _BOUNDARY.split(_CAMEL.sub(" ", name)) if part]
    joined = "".join(part for part in _BOUNDARY.split(whole) if part)
    if _without_cjk_plain(joined) in _GOOD_WORDS | _BAD_WORDS:
        return [_without_cjk_plain(joined)]
    if _without_cjk_plain(joined) in _MASK_WORDS or joined in _SPLITS:
        return [joined]
    if _without_cjk_plain(joined) in _SPLITS:
        return [_without_cjk_plain(joined)]
    return [_bare(part) for part in parts]


@lru_cache(maxsize=4096)
def meaning(name: str) -> Meaning:
    """What the name of a folder says.

    Args:
        name: of the folder alone, not of those above it.

    Returns:
        All that is known of it; nothing for words that are not known, such as a date.
    """
    tokens = _tokens(name)
    splits = [_SPLITS[token] for token in tokens if token in _SPLITS]
    rest = [token for token in tokens if token not in _SPLITS]
    ground = any(a == "ground" and b.startswith("truth") for a, b in pairwise(rest))
    mask = ground or any(token in _MASK_WORDS for token in rest)
    if mask:
        rest = [t for t in rest if t not in _MASK_WORDS and t not in ("ground", "truth", "truths")]
    said = [token for token in rest if token not in _BESIDE_WORDS]
    plain = bool(rest) and all(token in _PLAIN_WORDS for token in rest)
    return Meaning(
        _verdict(said),
        splits[0] if len(set(splits)) == 1 else None,
        mask,
        plain,
        aside="".join(said) in _ASIDE_WORDS or not _ASIDE_WORDS.isdisjoint(said),
        key="".join(said) or ("" if plain or splits or mask else _letters(name)),
    )


def _verdict(tokens: list[str]) -> bool | None:
    """True: good. A word that is not known takes the certainty from good, but not from bad."""
    joined = "".join(tokens)
    if joined in _GOOD_WORDS or joined in _BAD_WORDS:
        return joined in _GOOD_WORDS
    said: list[bool | None] = []
    negated = False
    for token in tokens:
        if token in _NOT_WORDS:
            negated = True
            continue
        known = token in _GOOD_WORDS or token in _BAD_WORDS
        said.append((token in _GOOD_WORDS) is not negated if known else None)
        negated = False
    if True in said and False in said:
        return None  # such as good_and_bad
    if False in said:
        return False
    return True if said and all(said) else None
