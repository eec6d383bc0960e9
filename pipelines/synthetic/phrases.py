"""Sentences of the synthetic reports: several wordings for each value of each finding."""

from __future__ import annotations

from collections.abc import Mapping

GROWTH_PATTERN: Mapping[str, tuple[str, ...]] = {
    "glandular": (
        "The tumor forms irregular acinar glands lined by columnar cells around open lumina.",
        "Sections show an acinar growth pattern: rings of atypical columnar cells enclose lumina, some of them "
        "with secretion.",
        "Invasive glands of varying size, in places cribriform, lie in a fibrous stroma.",
        "Histologically there is gland formation with basally placed nuclei and luminal secretion.",
        "Tubular and acinar structures with columnar epithelium make up the lesion.",
    ),
    "keratinizing": (
        "The tumor grows in nests with keratin pearls and visible intercellular bridges.",
        "Sections show sheets of polygonal cells with intercellular bridges; concentric keratin pearls are frequent.",
        "Nests of cohesive polygonal cells keratinize toward their centers and form pearls.",
        "Histologically there is keratinization with whorls of eosinophilic keratin and gaps crossed by bridges.",
        "Broad sheets with squamous pearls and individual cell keratinization make up the lesion.",
    ),
}
"""Label -> sentences about the growth pattern."""

DIAGNOSIS: Mapping[str, tuple[str, ...]] = {
    "glandular": ("adenocarcinoma", "adenocarcinoma, acinar pattern", "invasive adenocarcinoma"),
    "keratinizing": ("squamous cell carcinoma", "keratinizing squamous cell carcinoma", "squamous carcinoma"),
}
"""Label -> names of the tumor."""

WORDINGS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "differentiation": {
        "well": ("The tumor is well differentiated.", "Well differentiated (grade 1).", "Histologic grade: G1."),
        "moderate": (
            "The tumor is moderately differentiated.",
            "Moderately differentiated (grade 2).",
            "Histologic grade: G2.",
        ),
        "poor": (
            "The tumor is poorly differentiated.",
            "Poorly differentiated, with large solid areas (grade 3).",
            "Histologic grade: G3.",
        ),
    },
    "air_spaces": {
        "present": (
            "Spread through air spaces is present.",
            "Tumor cell clusters float in the air spaces beyond the edge of the main mass (STAS).",
            "STAS: identified.",
        ),
        "absent": (
            "No spread through air spaces is seen.",
            "STAS: not identified.",
            "There is no evidence of spread through air spaces (STAS).",
        ),
    },
    "vascular_invasion": {
        "present": (
            "Vascular invasion is present.",
            "Small veins are invaded by tumor cells.",
            "Lymphovascular invasion: present.",
            "There is invasion of blood vessels.",
        ),
        "absent": (
            "No vascular invasion is identified.",
            "Lymphovascular invasion: absent.",
            "Blood vessels are not invaded.",
            "There is no evidence of lymphovascular invasion.",
        ),
    },
    "necrosis": {
        "present": (
            "Tumor necrosis is present.",
            "Necrosis: identified.",
            "Parts of the tumor are necrotic.",
            "There are areas of necrosis with karyorrhectic debris.",
        ),
        "absent": (
            "No tumor necrosis is seen.",
            "Necrosis: not identified.",
            "There is no evidence of necrosis.",
            "Necrosis is absent.",
        ),
    },
    "pleural_invasion": {
        "present": (
            "The tumor invades the visceral pleura.",
            "Pleural invasion: present.",
            "There is infiltration of the visceral pleura.",
        ),
        "absent": (
            "The visceral pleura is not involved.",
            "Pleural invasion: absent.",
            "The pleura is free of tumor.",
            "No invasion of the visceral pleura is found.",
        ),
    },
    "adjacent_invasion": {
        "present": (
            "The tumor extends into the chest wall.",
            "Mediastinal fat is infiltrated by tumor.",
            "Direct extension into adjacent tissue: present.",
        ),
        "absent": (
            "The tumor is confined to the lung.",
            "No invasion of the chest wall or mediastinum.",
            "Adjacent structures are not invaded.",
        ),
    },
    "margins": {
        "clear": (
            "All resection margins are free of tumor.",
            "Surgical margins: negative (R0).",
            "The bronchial and vascular margins are clear; the nearest is {distance} cm away.",
        ),
        "involved": (
            "The bronchial resection margin is involved by tumor.",
            "Surgical margins: positive (R1).",
            "Tumor is present at the parenchymal resection margin.",
        ),
    },
}
"""Finding -> value -> sentences that state it."""

SPECIMEN = (
    "{side} {lobe} lobe of lung, lobectomy",
    "Lung, {side} {lobe} lobe, resection",
    "{side} {lobe} lobectomy specimen",
    "Wedge resection, {side} {lobe} lobe",
)

GROSS = (
    "Received fresh is a portion of lung measuring {a} x {b} x {c} cm. Sectioning reveals a firm, {color} mass of "
    "{size} cm.",
    "The specimen weighs {weight} grams. On sectioning there is an ill-defined {color} nodule, {size} cm in greatest "
    "dimension.",
    "A {a} x {b} x {c} cm piece of lung tissue with a {color} tumor {size} cm across. The remaining parenchyma is "
    "spongy and pink.",
    "The lung contains a solitary {color} lesion of {size} cm. Representative sections are submitted in {blocks} "
    "cassettes.",
)

REMARKS = (
    "The surrounding lung shows mild emphysema.",
    "A lymphocytic infiltrate is seen in the stroma.",
    "The stroma is desmoplastic.",
    "Alveolar macrophages are increased nearby.",
    "Four peribronchial lymph nodes without metastasis (0/4).",
    "Two of six hilar lymph nodes contain metastatic carcinoma (2/6).",
)
"""Sentences about things that no question asks about."""
