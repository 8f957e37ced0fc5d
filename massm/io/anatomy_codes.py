"""Standard codes (SNOMED CT) of anatomies, from TotalSegmentator's names and those of the model in
the box."""

import re

SIDES = {'left': 'Left', 'right': 'Right'}
# Keywords of pydicom's dictionary of SNOMED CT (PS3.16).
KEYWORDS = {
    'adrenal_gland': 'AdrenalGland',
    'aorta': 'Aorta',
    'brain': 'Brain',
    'brainstem': 'BrainStem',
    'clavicula': 'Clavicle',
    'colon': 'Colon',
    'duodenum': 'Duodenum',
    'esophagus': 'Esophagus',
    'femur': 'Femur',
    'gallbladder': 'Gallbladder',
    'heart': 'Heart',
    'heart_atrium_left': 'LeftAtrium',
    'heart_atrium_right': 'RightAtrium',
    'heart_ventricle_left': 'LeftVentricle',
    'heart_ventricle_right': 'RightVentricle',
    'humerus': 'Humerus',
    'inferior_vena_cava': 'InferiorVenaCava',
    'kidney': 'Kidney',
    'larynx': 'Larynx',
    'liver': 'Liver',
    'lung_lower_lobe': 'LowerLobeOfLung',
    'lung_middle_lobe_right': 'MiddleLobeOfRightLung',
    'lung_upper_lobe': 'UpperLobeOfLung',
    'mandible': 'Mandible',
    'pancreas': 'Pancreas',
    'parotid_gland': 'ParotidGland',
    'prostate': 'Prostate',
    'pulmonary_artery': 'PulmonaryArtery',
    'sacrum': 'Sacrum',
    'scapula': 'Scapula',
    'small_bowel': 'SmallIntestine',
    'spinal_cord': 'SpinalCord',
    'spleen': 'Spleen',
    'stomach': 'Stomach',
    'trachea': 'Trachea',
    'urinary_bladder': 'Bladder',
}


def anatomy_code(anatomy: str) -> tuple[str | None, str | None]:
    """Keyword of an anatomy in pydicom's ``codes.SCT``, and of its side where the code itself does
    not name one; None for what has no code here, or no side."""
    if anatomy in KEYWORDS:
        return KEYWORDS[anatomy], None
    if vertebra := re.fullmatch(r'vertebrae_([CTL]\d{1,2})', anatomy):
        return f'{vertebra[1]}Vertebra', None
    parts = anatomy.split('_')
    sides = [SIDES[part] for part in parts if part in SIDES]
    if len(sides) != 1:
        return None, None
    return KEYWORDS.get('_'.join(part for part in parts if part not in SIDES)), sides[0]
