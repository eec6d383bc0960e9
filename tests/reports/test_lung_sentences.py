"""Backend ``rules`` with the lung questions, on sentences within other text, in lower and upper case."""

import pytest

from pipelines.core.question_files import load_questions
from pipelines.reports.backends.rules import RulesBackend

RULES = RulesBackend(load_questions("lung"))

SENTENCES = {
    "differentiation": {
        "well": [
            "Histologic grade: Well differentiated (G1)",
            "low-grade adenocarcinoma",
        ],
        "poor": [
            "poorly differentiated squamous cell carcinoma",
            "Nuclear grade 3",
            "Histologic Grade (WHO): G3, Poorly differentiated",
            "Differentiation: poor",
            "Tumor grade: high",
            "Grade: poorly differentiated",
            "grade 3 (out of 3)",
            "Histologic grade: 3 - poorly differentiated",
            "Undifferentiated large cell carcinoma",
            "High grade carcinoma",
        ],
        "moderate": [
            "Grade: II/III",
            "Histologic grade: 2 of 3",
            "moderately well differentiated",
            "G 2",
            "intermediate differentiation",
            "Differentiation: moderate",
            "Grade: Moderate",
            "grade: intermediate",
            "G2: Moderately differentiated",
            "Histologic grade: moderately differentiated (grade 2 of 4)",
            "mod. differentiated",
        ],
        "mixed": [
            "Grade 2-3 of 4",
            "moderate to poor differentiation",
            "well to moderately differentiated",
            "Moderately-to-poorly differentiated",
            "moderately/poorly differentiated",
            "carcinoma, G2-3",
            "moderately and poorly differentiated areas",
            "Grade II-III",
            "HISTOLOGIC GRADE: G1-G2",
            "Moderately (60%) to poorly (40%) differentiated",
        ],
        "unknown": [
            "GX: cannot be assessed",
            "moderately well-circumscribed mass",
            "Grade not specified",
        ],
    },
    "air_spaces": {
        "present": [
            "Spread through air spaces: Present",
            "Tumor spread through alveolar spaces is seen",
            "aerogenous spread is present",
            "STAS is identified",
            "Tumor cells within alveolar spaces adjacent to tumor",
            "Intra-alveolar tumor spread",
            "tumor clusters in air spaces",
            "Free-floating tumor cells in alveoli",
        ],
        "absent": [
            "Spread through airspaces: not identified",
            "no aerogenous spread",
            "Air space spread: absent",
            "No tumor in the alveolar spaces",
        ],
        "unknown": [
            "alveolar spaces filled with macrophages",
        ],
    },
    "vascular_invasion": {
        "unknown": [
            "Lymph-vascular invasion: Indeterminate",
            "Lymphovascular space invasion suspected",
            "Vessels: unremarkable",
        ],
        "present": [
            "Vascular/lymphatic invasion: Yes",
            "Angiolymphatic space invasion is noted",
            "Large vessel invasion not identified; small vessel invasion identified",
            "Venous invasion (V): Absent. Arterial invasion: absent. Lymphatic invasion (L): Present",
            "Tumor emboli are seen in lymphatic spaces",
            "tumor thrombus in pulmonary vein",
            "LVI present",
            "Lymphatic permeation is identified",
            "Intravascular tumor is present",
            "Vascular invasion is extensive",
            "pT1 pN0 L1 V0",
            "extensive lymphovascular involvement",
            "Lymphatic vessel invasion (LVI) positive",
            "Tumor is present within lymphatics",
        ],
        "absent": [
            "Lymphatic/vascular invasion: no",
            "No definite angiolymphatic invasion",
            "There is no evidence of blood vessel invasion",
            "Vascular invasion was not seen",
            "Negative for lymphovascular invasion",
            "LVI: negative",
            "Blood vessel invasion: None",
            "Lymphatic invasion: L0. Venous invasion: V0",
            "L0, V0, R0",
            "angioinvasion absent",
        ],
    },
    "pleural_invasion": {
        "present": [
            "Tumor penetrates the visceral pleura",
            "Visceral pleural involvement: Yes",
            "VISCERAL PLEURAL INVASION: PRESENT (PL1)",
            "tumor invading through visceral pleura into chest wall",
            "Elastic stain confirms invasion beyond the elastic layer of the visceral pleura",
            "Tumor breaches the elastic lamina of the pleura",
            "Tumor involves parietal pleura (PL3)",
            "Extension: invades visceral pleura",
            "Pleural infiltration (+)",
            "with extension into pleura",
            "Invades pleura: Yes",
            "Visceral pleural invasion identified",
            "Carcinoma extends into but not through the visceral pleura",
            "with focal pleural involvement",
        ],
        "absent": [
            "The tumor is subpleural but does not involve the pleura",
            "Visceral pleura: Not involved",
            "Pleura free of tumor",
            "No pleural involvement is seen",
            "Tumor extends to but not through the visceral pleura",
            "The overlying pleura is not involved by tumor",
            "The pleura is uninvolved",
            "Pleural invasion is absent",
            "Negative for visceral pleural invasion",
            "The tumor does not extend to the pleural surface",
            "Pleural surface involvement: absent",
            "pleural invasion not seen",
            "the visceral pleura is intact",
            "No tumor is seen on the pleural surface",
            "infiltration of the pleura by tumor is not detected",
            "Invasion of pleura: no",
        ],
        "unknown": [
            "Visceral Pleural Invasion: Cannot be determined",
            "Pleural effusion is present",
            "The pleura shows fibrosis",
        ],
    },
    "adjacent_invasion": {
        "present": [
            "Tumor invades chest wall",
            "Tumor invades the parietal pericardium",
            "Tumor extends into mediastinal fat",
            "tumor infiltrates the diaphragm",
            "tumor invades main bronchus",
            "Tumor involves ribs",
            "Tumor extends into peribronchial soft tissue",
            "Extension to chest wall: present",
            "Extension into hilar fat is present",
            "The mass involves the intercostal muscle",
            "tumor invading vertebral body",
            "phrenic nerve invaded by tumor",
            "Tumor invades into the lobar bronchus",
        ],
        "absent": [
            "Extrapulmonary extension: not identified",
            "No invasion of chest wall is seen",
            "Direct extension to adjacent structures: None",
            "chest wall invasion: absent",
            "Tumor confined to lung",
            "Invasion of adjacent organs: no",
            "The ribs are free of tumor",
            "Tumor limited to lung",
            "No extrapulmonary spread",
            "Extent of invasion: confined to lung parenchyma",
            "Other structures involved: none",
        ],
        "unknown": [
            "Mediastinal lymph nodes positive for metastasis",
            "The bronchial margin is free",
            "Soft tissue fragments received",
        ],
    },
    "margins": {
        "clear": [
            "All surgical margins are negative",
            "Surgical margins: free of carcinoma",
            "Bronchial margin negative for malignancy",
            "Margins of resection: Not involved",
            "The closest margin is 1.2 cm from tumor",
            "Tumor is 2.5 cm from the bronchial resection margin",
            "Margin status: R0",
            "Margins: Uninvolved by invasive carcinoma; distance 3 mm",
            "No tumor at the margins",
            "Margins uninvolved by tumor",
            "The lines of resection are free of tumor",
            "Bronchial stump is free of tumor",
            "Staple line negative for tumor",
            "Surgical margins, negative for tumor",
            "The bronchial cut margin contains no tumor",
            "Resected margins are tumor free",
            "Margins are widely free",
            "tumor approaches to within 1 mm of the margin",
            "Bronchus resection margins tumor-free",
            "The tumour is completely excised",
            "Bronchial, vascular and pleural margins, no evidence of malignancy",
            "Margins: Distance from closest margin: 15 mm",
            "THE SURGICAL MARGINS DO NOT CONTAIN TUMOR",
            "The margins appear free",
        ],
        "involved": [
            "Carcinoma is present at the bronchial margin of resection",
            "The bronchial resection margin shows carcinoma in situ",
            "Tumor extends to the inked margin",
            "Tumor present at inked surgical margin",
            "Margin status: R1",
            "Tumor involves the parenchymal stapled margin",
            "Positive margin",
            "Microscopic residual tumor at vascular margin",
            "Invasive carcinoma focally involves the soft tissue margin",
            "Bronchial margin: Involved by carcinoma in situ",
        ],
        "unknown": [
            "Resection margins: Cannot be assessed",
            "The margin is inked blue",
        ],
    },
}
CASES = [
    (question, answer, sentence)
    for question, answers in SENTENCES.items()
    for answer, sentences in answers.items()
    for sentence in sentences
]


@pytest.mark.parametrize(("question", "answer", "sentence"), CASES)
def test_the_answer_to_a_sentence(question, answer, sentence):
    for written in (sentence, sentence.upper()):
        report = f"Diagnosis: lung, lobectomy. {written}. The tumor measures 3 cm."
        assert RULES.answer(report)[question]["answer"] == answer
