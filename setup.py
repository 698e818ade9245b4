"""Which packages the distribution holds; all else of it is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    # the checkout's configs/ lies in the package once that is installed (wend.config.shipped)
    packages=[*find_packages(include=["wend", "wend.*"]), "wend.configs"],
    package_dir={"wend.configs": "configs"},
    package_data={
        "wend": ["py.typed", "*.pyi", "reports/*.html", "reports/*.css", "reports/*.js"],
        "wend.configs": ["**/*.yaml"],
    },
)
