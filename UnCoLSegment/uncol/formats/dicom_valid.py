"""What results repeat of patient and study, as far as it is valid DICOM: nothing is made up in place of the rest."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VM, keyword_for_tag, tag_for_keyword
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, DA, TM, validate_value

from uncol.formats.dicom_tags import UNREADABLE, tag_name, text_of

MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""What DICOM wants of every object, empty where it is not known (type 2)."""
_GROUPS = (0x0010, 0x0012, 0x0032, 0x0038)
"""Patient, clinical trial, request and visit."""
_OTHERS = (
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "ConsultingPhysicianIdentificationSequence",
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansReadingStudyIdentificationSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "ProcedureCodeSequence",
    "ReasonForPerformedProcedureCodeSequence",
    "ReferencedStudySequence",
    "ReferencedPatientSequence",
    "Manufacturer",
    "ManufacturerModelName",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "PositionReferenceIndicator",
)
"""What else highdicom repeats: the modules of the study, the equipment, and the frame of reference."""
_WITHOUT_ITEMS = ("PatientBreedCodeSequence", "BreedRegistrationSequence")
"""The only sequences of these that may have no items (type 2)."""
_TRIAL = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialSubjectID")
_OF_TRIAL = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
_MORE_OF_TRIAL = (
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialCoordinatingCenterName",
    "ClinicalTrialProtocolEthicsCommitteeName",
    "ClinicalTrialProtocolEthicsCommitteeApprovalNumber",
)
_ONLY_WITH = (
    (("ResponsiblePerson",), ("ResponsiblePersonRole",)),
    ((*_TRIAL, *_OF_TRIAL, *_MORE_OF_TRIAL), _TRIAL),
)
"""Tags that are valid only where all of some others are, which anonymization may have taken."""
_EMPTY_BESIDE = (
    (("ClinicalTrialTimePointDescription",), ("ClinicalTrialTimePointID",)),
    (_TRIAL, _OF_TRIAL),
)
"""Tags beside which others must be there, empty where they are not known (type 2)."""
_NAME_DELIMITERS = 4  # family, given and middle name, prefix, suffix; pydicom does not count them
_SEXES = ("", "F", "M", "O")
_LINES = {"LT": "\n\r\f\t", "ST": "\n\r\f\t", "UT": "\n\r\f\t"}
"""Control characters that a kind of text may hold."""
_UNDECODED = "\N{REPLACEMENT CHARACTER}"
_PRINTED_UID = re.compile(r"[0-9.]{1,64}")
"""Scanners write zeros in front of numbers, too, and archives keep what they wrote."""


def is_identifier(text: str) -> bool:
    """Say whether a text can be a UID."""
    return _PRINTED_UID.fullmatch(text) is not None


def take_away_invalid(header: Dataset) -> list[str]:
    """Take away what results would repeat and is not valid; let the rest be Unicode.

    Returns:
        The names of what was taken away.
    """
    has_charset = bool(header.get("SpecificCharacterSet"))
    repeated = _repeated(header)
    for tag in [each for each in repeated if _says_nothing(header, each)]:
        del header[tag]
    taken = [tag for tag in repeated if tag in header and not _is_readable(header, tag, has_charset=has_charset)]
    for names, others in _ONLY_WITH:
        if not all(_has(header, name) and tag_for_keyword(name) not in taken for name in others):
            taken += [tag for tag in map(Tag, names) if tag in header and tag not in taken]
    for tag in taken:
        del header[tag]
    needed = [name for names, others in _EMPTY_BESIDE if any(name in header for name in names) for name in others]
    for name in (*MAY_BE_EMPTY, *needed):
        if name not in header:
            setattr(header, name, "")
    header.SpecificCharacterSet = "ISO_IR 192"
    return [tag_name(keyword_for_tag(tag)) for tag in taken]


def _repeated(header: Dataset) -> list[BaseTag]:
    others = {tag_for_keyword(name) for name in _OTHERS}
    known = [tag for tag in header.keys() if keyword_for_tag(tag)]  # noqa: SIM118  # iterating would read all values
    return [tag for tag in known if tag.group in _GROUPS or tag in others]


def _has(header: Dataset, name: str) -> bool:
    return bool(text_of(header, name).strip())


def _says_nothing(header: Dataset, tag: BaseTag) -> bool:
    """Say whether a sequence has no items, or one of its items nothing in it, as archives leave them."""
    try:
        element = header[tag]
        return element.VR == "SQ" and element.keyword not in _WITHOUT_ITEMS and not all([element.value, *element.value])
    except UNREADABLE:
        return False


def _is_readable(header: Dataset, tag: BaseTag, *, has_charset: bool) -> bool:
    try:
        return _is_valid(header[tag], has_charset=has_charset)
    except UNREADABLE:
        return False


def _is_valid(element: DataElement, *, has_charset: bool) -> bool:
    if element.VR == "SQ":
        return all(_is_valid(each, has_charset=has_charset) for item in element.value for each in item)
    values: Sequence[Any] = element.value if element.VM > 1 else [element.value]
    if element.VM > 1 and not element.tag.is_private and dictionary_VM(element.tag) == "1":
        return False
    return all(_is_valid_value(element, each, has_charset=has_charset) for each in values if each not in (None, ""))


def _is_valid_value(element: DataElement, value: Any, *, has_charset: bool) -> bool:
    """Say whether a value is valid, or raise one of UNREADABLE; what stands in a text without its letters is not."""
    kind = element.VR
    if isinstance(value, int | float) and not hasattr(value, "original_string"):
        return True
    text = value if isinstance(value, bytes) else str(value)
    validate_value(kind, text, RAISE)
    if isinstance(text, bytes):
        return True
    if kind in ("DA", "TM"):
        (DA if kind == "DA" else TM)(text)
    if element.keyword == "PatientSex" and text not in _SEXES:
        return False
    if kind == "PN" and max(group.count("^") for group in text.split("=")) > _NAME_DELIMITERS:
        return False
    has_letters = has_charset or text.isascii() or kind not in CUSTOMIZABLE_CHARSET_VR
    keeps = _LINES.get(kind, "")
    return (
        has_letters
        and _UNDECODED not in text
        and not any(unicodedata.category(each) == "Cc" and each not in keeps for each in text)
    )
