"""The rules backend with the shipped question sets, on report snippets written for these tests."""

import pytest

from pipelines.core.questions import load_questions, shipped_sets
from pipelines.question_sets import check_questions
from pipelines.reports.backends.rules import RulesBackend
from pipelines.reports.grounding import locate

SNIPPETS = {
    "breast": {
        "histologic_type": {
            "Invasive ductal carcinoma, 1.8 cm.": "no_special_type",
            "INFILTRATING DUCTAL CARCINOMA, GRADE 2": "no_special_type",
            "Histologic type: Invasive carcinoma of no special type": "no_special_type",
            "Left breast, excision: Invasive lobular carcinoma, classic type.": "lobular",
            "Infiltrating lobular carcinoma with signet ring cells.": "lobular",
            "Invasive carcinoma with ductal and lobular features.": "mixed",
            "Pure mucinous carcinoma, 1.1 cm.": "special_type",
            "Metaplastic carcinoma with squamous differentiation.": "special_type",
            "Fibroadenoma. No carcinoma is seen.": "unknown",
            "Lobular carcinoma in situ.": "unknown",
        },
        "grade": {
            "Nottingham histologic grade: 3 of 3": "grade3",
            "Invasive ductal carcinoma, Nottingham grade 1 (score 5 of 9).": "grade1",
            "Overall grade: II": "grade2",
            "Moderately differentiated invasive ductal carcinoma.": "grade2",
            "Invasive carcinoma, poorly differentiated.": "grade3",
            "DCIS, high grade, with comedo necrosis.": "unknown",
            "Nuclear grade: 3": "unknown",
        },
        "in_situ": {
            "DCIS: Present, cribriform type.": "present",
            "Ductal carcinoma in situ, high grade, is identified.": "present",
            "Invasive ductal carcinoma with associated intraductal carcinoma.": "present",
            "No DCIS is seen.": "absent",
            "Ductal carcinoma in situ: not identified.": "absent",
            "Margins are free of DCIS.": "unknown",
            "Lobular carcinoma in situ is present.": "unknown",
        },
        "lymphovascular_invasion": {
            "Lymphovascular invasion: Present": "present",
            "Lymph-vascular invasion: Not identified": "absent",
            "Tumor emboli are seen in lymphatic spaces.": "present",
            "No definite lymphovascular invasion.": "absent",
            "Angiolymphatic invasion is absent.": "absent",
            "Lymphovascular invasion cannot be determined.": "unknown",
            "The axillary vein was preserved.": "unknown",
        },
        "margins": {
            "All margins are negative for carcinoma.": "clear",
            "Margins: uninvolved by invasive carcinoma, closest margin 4 mm.": "clear",
            "The deep margin is positive for invasive carcinoma.": "involved",
            "Invasive carcinoma is present at the inked anterior margin.": "involved",
            "Tumor on ink at the medial margin.": "involved",
            "The margins were inked in six colors.": "unknown",
        },
        "estrogen_receptor": {
            "Estrogen receptor: Positive (90%)": "positive",
            "ER: 95%, strong": "positive",
            "ER+ / PR+ / HER2-": "positive",
            "Estrogen receptor: Negative (<1%)": "negative",
            "The carcinoma is triple negative.": "negative",
            "Estrogen receptor studies are pending.": "unknown",
        },
        "her2": {
            "HER2 (IHC): Negative (score 1+)": "negative",
            "HER2/neu: 3+": "positive",
            "HER-2 is equivocal (2+).": "equivocal",
            "HER2 by FISH: not amplified": "negative",
            "HER2 FISH: amplified": "positive",
            "Tissue was sent for HER2; the result is pending.": "unknown",
        },
    },
    "colorectal": {
        "histologic_type": {
            "Sigmoid colon: Invasive adenocarcinoma.": "adenocarcinoma",
            "Mucinous adenocarcinoma, 5 cm.": "mucinous",
            "Histologic Type: Signet-ring cell carcinoma": "signet_ring",
            "Medullary carcinoma of the cecum.": "other",
            "Adenocarcinoma, mucinous type.": "mucinous",
            "Diverticulosis.": "unknown",
        },
        "grade": {
            "Histologic grade: Low-grade (moderately differentiated)": "low",
            "Poorly differentiated adenocarcinoma.": "high",
            "Adenocarcinoma, G2.": "low",
            "Histologic Grade: G3, poorly differentiated": "high",
            "Tubulovillous adenoma with high-grade dysplasia.": "unknown",
            "Moderately differentiated adenocarcinoma arising in an adenoma with high grade dysplasia.": "low",
        },
        "depth": {
            "Tumor invades the submucosa.": "submucosa",
            "The tumor invades into but not through the muscularis propria.": "muscularis_propria",
            "Tumor invades through the muscularis propria into pericolonic tissue.": "beyond_muscularis",
            "The carcinoma penetrates the serosal surface.": "serosa_or_organ",
            "pT3 N1a": "beyond_muscularis",
            "pT4a": "serosa_or_organ",
            "ypT2 ypN0": "muscularis_propria",
            "A polyp of 2 cm.": "unknown",
        },
        "lymphovascular_invasion": {
            "Lymphovascular invasion: Not identified": "absent",
            "Large vessel (venous) invasion: Present, extramural": "present",
            "No vascular or perineural invasion.": "absent",
            "L0 V1": "present",
            "The vascular margin is free of tumor.": "unknown",
        },
        "perineural_invasion": {
            "Perineural invasion: Present": "present",
            "Perineural invasion: Not identified": "absent",
            "No lymphovascular or perineural invasion is seen.": "absent",
            "Pn1": "present",
            "The tumor is 4 cm.": "unknown",
        },
        "tumor_deposits": {
            "Tumor deposits: Not identified": "absent",
            "Tumor deposits: Present, 3": "present",
            "Two tumor deposits are present in the pericolic fat.": "present",
            "No tumor deposits are seen.": "absent",
            "Lymph nodes: 0/15": "unknown",
        },
        "tumor_budding": {
            "Tumor budding: Low score (0-4)": "low",
            "Tumor budding score: Intermediate (5-9)": "intermediate",
            "High tumor budding is seen at the front.": "high",
            "Number of buds not counted.": "unknown",
        },
        "mismatch_repair": {
            "MLH1: Intact nuclear expression. MSH2: Intact nuclear expression.": "intact",
            "MSH6: Loss of nuclear expression": "deficient",
            "There is no loss of mismatch repair proteins.": "intact",
            "The tumor is microsatellite stable.": "intact",
            "MSI-H": "deficient",
            "Mismatch repair proteins will be performed.": "unknown",
        },
        "margins": {
            "Proximal and distal margins are free of tumor.": "clear",
            "Circumferential margin: involved by carcinoma": "involved",
            "All margins are uninvolved by invasive carcinoma; distance to radial margin: 12 mm": "clear",
            "Resection R1.": "involved",
            "The specimen is opened along the antimesenteric margin.": "unknown",
        },
    },
    "prostate": {
        "grade_group": {
            "Gleason score 3+3=6": "group1",
            "Prostatic adenocarcinoma, Gleason 3 + 4 = 7 (Grade Group 2).": "group2",
            "Gleason grade 4+3=7, tertiary pattern absent": "group3",
            "Grade group: 4": "group4",
            "Gleason score: 4+5=9": "group5",
            "Prostate, needle biopsy: Gleason 3+3=6.": "unknown",
            "Benign prostatic hyperplasia.": "unknown",
        },
        "extraprostatic_extension": {
            "Extraprostatic extension: Present, nonfocal": "present",
            "Extraprostatic extension: Not identified": "absent",
            "No extracapsular extension.": "absent",
            "Carcinoma extends into periprostatic fat.": "present",
            "The tumor is organ confined.": "absent",
            "pT3a": "present",
            "pT2": "absent",
            "The prostate weighs 42 g.": "unknown",
        },
        "seminal_vesicle_invasion": {
            "Seminal vesicle invasion: Not identified": "absent",
            "Seminal vesicle invasion: Present, left": "present",
            "The seminal vesicles are free of tumor.": "absent",
            "Carcinoma invades the right seminal vesicle.": "present",
            "No seminal vesicle involvement.": "absent",
            "pT3b N0": "present",
            "Prostate and seminal vesicles, radical prostatectomy.": "unknown",
        },
        "perineural_invasion": {
            "Perineural invasion: Present": "present",
            "Perineural invasion is not seen.": "absent",
            "A nerve sparing prostatectomy was done.": "unknown",
        },
        "lymphovascular_invasion": {
            "Lymphovascular invasion: Not identified": "absent",
            "Angiolymphatic invasion is present.": "present",
            "The neurovascular bundles are included.": "unknown",
        },
        "intraductal_or_cribriform": {
            "Intraductal carcinoma: Present": "present",
            "Intraductal carcinoma (IDC): Not identified": "absent",
            "Cribriform glands are present.": "present",
            "High grade PIN is present.": "unknown",
        },
        "margins": {
            "Margins: Uninvolved by invasive carcinoma": "clear",
            "Surgical margins are negative.": "clear",
            "Margin positive at the apex, 3 mm.": "involved",
            "Tumor extends to the inked left posterior margin.": "involved",
            "Benign glands at the inked margin.": "unknown",
        },
    },
    "kidney": {
        "histologic_type": {
            "Renal cell carcinoma, clear cell type.": "clear_cell",
            "Clear cell renal cell carcinoma, 4 cm.": "clear_cell",
            "Histologic type: Papillary renal cell carcinoma, type 1": "papillary",
            "Chromophobe renal cell carcinoma.": "chromophobe",
            "Oncocytoma, 3 cm.": "other",
            "Conventional renal cell carcinoma.": "clear_cell",
            "Simple cyst.": "unknown",
        },
        "grade": {
            "WHO/ISUP grade: 2": "grade2",
            "Fuhrman nuclear grade 3 of 4.": "grade3",
            "Furhman grade IV/IV": "grade4",
            "Histologic Grade (WHO/ISUP): G1": "grade1",
            "Not applicable.": "unknown",
        },
        "necrosis": {
            "Tumor necrosis: Present, 10%": "present",
            "Necrosis: Not identified": "absent",
            "Focal coagulative necrosis is seen.": "present",
            "No necrosis.": "absent",
            "Acute tubular necrosis in the adjacent kidney.": "unknown",
        },
        "sarcomatoid_or_rhabdoid": {
            "Sarcomatoid features: Not identified": "absent",
            "Renal cell carcinoma with extensive sarcomatoid change.": "present",
            "Rhabdoid features: Present": "present",
            "No sarcomatoid differentiation is seen.": "absent",
            "Spherical mass.": "unknown",
        },
        "vein_invasion": {
            "Renal vein: tumor thrombus present": "present",
            "No renal vein invasion.": "absent",
            "The tumor extends into the inferior vena cava.": "present",
            "Renal vein involvement: Not identified": "absent",
            "Renal vein margin: negative": "unknown",
        },
        "fat_invasion": {
            "Tumor extension into perinephric tissue: Present": "present",
            "The tumor invades perinephric fat.": "present",
            "Tumor is confined to the kidney.": "absent",
            "Renal sinus fat invasion is not identified.": "absent",
            "No perinephric invasion.": "absent",
            "pT1a": "absent",
            "Ample fat is attached.": "unknown",
        },
        "margins": {
            "Margins: Uninvolved by tumor": "clear",
            "Ureteral and vascular margins are free.": "clear",
            "The parenchymal margin is involved by carcinoma.": "involved",
            "Margins not applicable.": "unknown",
        },
    },
    "lymph-node": {
        "metastasis": {
            "Metastatic carcinoma in 3 of 12 lymph nodes.": "present",
            "Two of ten lymph nodes positive for carcinoma (2/10).": "present",
            "Sentinel lymph node: negative for metastatic carcinoma (0/1).": "absent",
            "Fourteen lymph nodes, no tumor seen (0/14).": "absent",
            "pN0": "absent",
            "pN2a": "present",
            "Reactive lymph nodes.": "absent",
            "Lymph nodes: none submitted.": "unknown",
        },
        "metastasis_size": {
            "Macrometastasis in one sentinel node.": "macrometastasis",
            "Largest metastatic deposit: 8 mm": "macrometastasis",
            "Micrometastasis, 0.9 mm.": "micrometastasis",
            "Isolated tumor cells are present in one node.": "isolated_cells",
            "pN1mi": "micrometastasis",
            "No isolated tumor cells are seen.": "unknown",
        },
        "extranodal_extension": {
            "Extranodal extension: Present": "present",
            "Extranodal extension: Not identified": "absent",
            "No extracapsular extension.": "absent",
            "Tumor extends through the capsule into perinodal fat.": "present",
            "Metastasis in one node.": "unknown",
        },
        "positive_nodes": {
            "Metastatic carcinoma in 5 of 16 lymph nodes.": "four_or_more",
            "One of two sentinel nodes positive.": "one_to_three",
            "Lymph nodes, regional (0/23).": "none",
            "Number of lymph nodes with metastases: 2": "one_to_three",
            "All lymph nodes are negative for carcinoma.": "none",
            "Lymph node, biopsy.": "unknown",
        },
        "treatment_effect": {
            "Treatment effect is present in two lymph nodes.": "present",
            "No definite treatment effect in lymph nodes.": "absent",
            "Lymph nodes with sinus histiocytosis.": "unknown",
        },
    },
}

CASES = [
    pytest.param(name, question, report, answer, id=f"{name}-{question}-{report[:40]}")
    for name, questions in SNIPPETS.items()
    for question, reports in questions.items()
    for report, answer in reports.items()
]
BACKENDS = {name: RulesBackend(load_questions(name)) for name in SNIPPETS}


@pytest.mark.parametrize(("name", "question", "report", "expected"), CASES)
def test_the_rules_read_a_snippet_right_and_quote_it(name, question, report, expected):
    entry = BACKENDS[name].answer(report)[question]
    assert entry["answer"] == expected
    if expected != "unknown":
        assert locate(entry["evidence"], report)


def test_every_set_but_those_tested_on_their_own_is_tested_here():
    assert set(SNIPPETS) == set(shipped_sets()) - {"lung", "lung-histology"}


@pytest.mark.parametrize("name", SNIPPETS)
def test_every_question_and_every_answer_has_a_snippet(name):
    for question in load_questions(name).questions:
        given = set(SNIPPETS[name][question.id].values())
        assert given == set(question.answers), question.id


@pytest.mark.parametrize("name", shipped_sets())
def test_a_shipped_set_is_sound_and_its_examples_are_read_as_they_say(name):
    assert not [note for note in check_questions(name).notes if not note.endswith("no examples")]


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_set_names_the_protocols_it_is_drawn_from(name):
    about = load_questions(name).about
    assert "College of American Pathologists" in about
    assert "International Collaboration on Cancer Reporting" in about
